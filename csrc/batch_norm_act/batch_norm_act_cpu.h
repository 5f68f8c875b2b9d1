// The CPU kernels, on plain pointers: no torch header, so that the C++ tests build without torch.
//
// Sums are taken over units: parts of a group whose size depends on the shape alone. Each unit
// leaves its sums in a table, and the table is added up in order, so the result does not depend on
// the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../common/parallel.h"
#include "batch_norm_act_loops.h"

namespace gankit::batch_norm_act {

constexpr int64_t kUnitValues = 4096;     // per channel and unit, where the shape allows
constexpr int64_t kUnitRows = 256;        // the same for channels last: one accumulator per channel
constexpr int64_t kElementGrain = 32768;  // elements per thread: some microseconds of work
constexpr int64_t kTile = 256;            // channels whose accumulators are on the stack

// A unit of a group. Planes: samples [first, last) and positions [begin, end) of each. Channels
// last: rows [first, last).
struct Unit {
  int64_t first, last, begin, end;
};

struct Units {
  Geometry g;
  int64_t samples_each, pieces, positions_each, per_group;

  explicit Units(const Geometry& geometry) : g(geometry) {
    if (g.channels_last) {
      samples_each = kUnitRows;
      pieces = 1;
      positions_each = g.positions;
      per_group = (g.count() + kUnitRows - 1) / kUnitRows;
      return;
    }
    const int64_t positions = std::max<int64_t>(g.positions, 1);
    pieces = (positions + kUnitValues - 1) / kUnitValues;
    positions_each = (positions + pieces - 1) / pieces;
    samples_each = std::max<int64_t>(1, kUnitValues / positions);
    per_group = (g.samples + samples_each - 1) / samples_each * pieces;
  }

  Unit operator[](int64_t u) const {
    const int64_t rows = g.channels_last ? g.count() : g.samples;
    const int64_t first = u / pieces * samples_each, begin = u % pieces * positions_each;
    return {first, std::min(rows, first + samples_each), begin,
            std::min(g.positions, begin + positions_each)};
  }
};

// --- statistics -------------------------------------------------------------------------------

template <class Compute>
double sum_lanes(const Compute* lanes) {
  double sum = 0;
  for (int l = 0; l < kLanes<Compute>; ++l) sum += static_cast<double>(lanes[l]);
  return sum;
}

// Moments of the channels of one unit; `x` is the start of the group.
template <class T>
void unit_moments(const typename T::bits* x, const Geometry& g, const Unit& unit,
                  Moments<double>* out) {
  using Compute = typename T::compute;
  if (g.channels_last) {
    Compute shift[kTile], sum[kTile], squares[kTile];
    const int64_t rows = unit.last - unit.first;
    // The shift is the mean of the first rows, a sixteenth of a whole unit.
    const int64_t probe = std::min<int64_t>(rows, kUnitRows / 16);
    for (int64_t c = 0; c < g.channels; c += kTile) {
      const int64_t n = std::min(kTile, g.channels - c);
      const typename T::bits* first = x + unit.first * g.channels + c;
      for (int64_t k = 0; k < n; ++k) shift[k] = sum[k] = squares[k] = 0;
      sum_rows<T>(first, probe, g.channels, n, shift, sum, squares);
      for (int64_t k = 0; k < n; ++k) {
        shift[k] = sum[k] / static_cast<Compute>(probe);
        sum[k] = squares[k] = 0;
      }
      sum_rows<T>(first, rows, g.channels, n, shift, sum, squares);
      for (int64_t k = 0; k < n; ++k) {
        out[c + k] = moments_of<double>(static_cast<double>(rows), shift[k], sum[k], squares[k]);
      }
    }
    return;
  }
  constexpr int kWide = kLanes<Compute>;
  const int64_t positions = unit.end - unit.begin;
  const int64_t sample = g.channels * g.positions;
  const auto count = static_cast<double>((unit.last - unit.first) * positions);
  std::vector<Compute> sums(static_cast<size_t>(2 * kWide * g.channels));
  std::vector<Compute> shifts(static_cast<size_t>(g.channels));
  const typename T::bits* first = x + unit.first * sample + unit.begin;
  // The shift is the mean of the first planes, a sixteenth of the unit.
  const int64_t probe = std::max<int64_t>(1, (unit.last - unit.first) / 16);
  for (int64_t c = 0; c < g.channels; ++c) {
    Compute sum[kWide] = {}, squares[kWide] = {};
    for (int64_t s = 0; s < probe; ++s) {
      sum_plane<T>(first + s * sample + c * g.positions, positions, 0, sum, squares);
    }
    shifts[static_cast<size_t>(c)] =
        static_cast<Compute>(sum_lanes(sum) / static_cast<double>(probe * positions));
  }
  for (int64_t s = unit.first; s < unit.last; ++s, first += sample) {
    for (int64_t c = 0; c < g.channels; ++c) {
      Compute* lanes = sums.data() + 2 * kWide * c;
      sum_plane<T>(first + c * g.positions, positions, shifts[static_cast<size_t>(c)], lanes,
                   lanes + kWide);
    }
  }
  for (int64_t c = 0; c < g.channels; ++c) {
    const Compute* lanes = sums.data() + 2 * kWide * c;
    out[c] = moments_of<double>(count, shifts[static_cast<size_t>(c)], sum_lanes(lanes),
                                sum_lanes(lanes + kWide));
  }
}

inline int64_t unit_grain(const Units& units) {
  const int64_t all = units.g.groups * units.per_group;
  const int64_t each = units.g.groups * units.g.group_elements() / std::max<int64_t>(all, 1);
  return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(each, 1));
}

// Mean and biased variance, [groups, channels]; zeros where there are no values.
template <class T>
void statistics_cpu(const typename T::bits* x, const Geometry& g, typename T::compute* mean,
                    typename T::compute* var) {
  using Compute = typename T::compute;
  const Units units(g);
  const auto channels = static_cast<size_t>(g.channels);
  std::vector<Moments<double>> table(static_cast<size_t>(g.groups * units.per_group) * channels);
  parallel_for(0, g.groups * units.per_group, unit_grain(units), [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      unit_moments<T>(x + u / units.per_group * g.group_elements(), g, units[u % units.per_group],
                      table.data() + static_cast<size_t>(u) * channels);
    }
  });
  for (int64_t group = 0; group < g.groups; ++group) {
    std::vector<Moments<double>> total(channels);
    for (int64_t u = 0; u < units.per_group; ++u) {
      const auto* row = table.data() + static_cast<size_t>(group * units.per_group + u) * channels;
      for (size_t c = 0; c < channels; ++c) total[c].add(row[c]);
    }
    for (size_t c = 0; c < channels; ++c) {
      const size_t at = static_cast<size_t>(group) * channels + c;
      mean[at] = static_cast<Compute>(total[c].mean);
      var[at] = static_cast<Compute>(total[c].deviations / std::max(total[c].count, 1.0));
    }
  }
}

// --- everything else needs the channels' parameters -------------------------------------------

// Structs for loops along planes, arrays of the same for loops along rows.
template <class Compute>
struct Channels {
  std::vector<Channel<Compute>> structs;
  std::vector<Compute> values;
  int64_t channels;

  Channels(const Geometry& g, const Inputs<Compute>& in) : channels(g.channels) {
    const int64_t total = g.groups * g.channels;
    structs.resize(static_cast<size_t>(total));
    for (int64_t i = 0; i < total; ++i) structs[static_cast<size_t>(i)] = in.channel(i, channels);
    if (!g.channels_last) return;
    values.resize(static_cast<size_t>(6 * total));
    for (int64_t group = 0; group < g.groups; ++group) {
      for (int64_t c = 0; c < channels; ++c) {
        const Channel<Compute>& channel = structs[static_cast<size_t>(group * channels + c)];
        Compute* to = values.data() + 6 * group * channels + c;
        to[0] = channel.mean;
        to[channels] = channel.inverse;
        to[2 * channels] = channel.scale;
        to[3 * channels] = channel.shift;
        to[4 * channels] = channel.constant;
        to[5 * channels] = channel.linear;
      }
    }
  }

  const Channel<Compute>* planes(int64_t group) const { return structs.data() + group * channels; }

  ChannelArrays<Compute> rows(int64_t group, int64_t from = 0) const {
    const Compute* p = values.data() + 6 * group * channels + from;
    return {
        p, p + channels, p + 2 * channels, p + 3 * channels, p + 4 * channels, p + 5 * channels};
  }
};

// Calls body(group, offset, count) for stretches of whole samples (planes) or rows of one group.
template <class Body>
void for_each_stretch(const Geometry& g, const Body& body) {
  const int64_t per_group = g.channels_last ? g.count() : g.samples;
  const int64_t size = g.channels_last ? g.channels : g.channels * g.positions;
  const int64_t grain = std::max<int64_t>(1, kElementGrain / std::max<int64_t>(size, 1));
  parallel_for(0, g.groups * per_group, grain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t group = begin / per_group;
      const int64_t stop = std::min(end, (group + 1) * per_group);
      body(group, begin * size, stop - begin);
      begin = stop;
    }
  });
}

// y may be x.
template <class T, Activation kActivation>
void apply_cpu(const typename T::bits* x, typename T::bits* y, const Geometry& g,
               const Inputs<typename T::compute>& in) {
  const Channels<typename T::compute> channels(g, in);
  for_each_stretch(g, [&](int64_t group, int64_t offset, int64_t count) {
    if (g.channels_last) {
      apply_rows<T, kActivation>(x + offset, y + offset, count, g.channels, channels.rows(group),
                                 in.slope);
      return;
    }
    const int64_t sample = g.channels * g.positions;
    for (int64_t s = 0; s < count; ++s) {
      apply_planes<T, kActivation>(x + offset + s * sample, y + offset + s * sample, g.channels,
                                   g.positions, channels.planes(group), in.slope);
    }
  });
}

// grad_x may be grad.
template <class T, Activation kActivation>
void grad_input_cpu(const typename T::bits* grad, const typename T::bits* x,
                    typename T::bits* grad_x, const Geometry& g,
                    const Inputs<typename T::compute>& in) {
  const Channels<typename T::compute> channels(g, in);
  for_each_stretch(g, [&](int64_t group, int64_t offset, int64_t count) {
    if (g.channels_last) {
      grad_input_rows<T, kActivation>(grad + offset, x + offset, grad_x + offset, count, g.channels,
                                      channels.rows(group), in.slope);
      return;
    }
    const int64_t sample = g.channels * g.positions;
    for (int64_t s = 0; s < count; ++s) {
      const int64_t at = offset + s * sample;
      grad_input_planes<T, kActivation>(grad + at, x + at, grad_x + at, g.channels, g.positions,
                                        channels.planes(group), in.slope);
    }
  });
}

// Sums of h and h * xhat over one unit, [2, channels]; pointers to the start of the group. With
// kKeep, h goes to `kept` first, and is added up from there.
template <class T, Activation kActivation, bool kKeep>
void unit_sums(const typename T::bits* grad, const typename T::bits* x, typename T::bits* kept,
               const Geometry& g, const Unit& unit, const Channels<typename T::compute>& channels,
               int64_t group, typename T::compute slope, double* out) {
  using Compute = typename T::compute;
  constexpr Activation kRest = kKeep ? Activation::kNone : kActivation;
  if (g.channels_last) {
    Compute sum[kTile], product[kTile];
    const int64_t rows = unit.last - unit.first;
    for (int64_t c = 0; c < g.channels; c += kTile) {
      const int64_t n = std::min(kTile, g.channels - c), at = unit.first * g.channels + c;
      const auto arrays = channels.rows(group, c);
      const typename T::bits* from = grad + at;
      if constexpr (kKeep) {
        grad_z_rows<T, kActivation>(from, x + at, kept + at, rows, g.channels, n, arrays, slope);
        from = kept + at;
      }
      for (int64_t k = 0; k < n; ++k) sum[k] = product[k] = 0;
      grad_sum_rows<T, kRest>(from, x + at, rows, g.channels, n, arrays, slope, sum, product);
      for (int64_t k = 0; k < n; ++k) {
        out[c + k] = sum[k];
        out[g.channels + c + k] = product[k];
      }
    }
    return;
  }
  constexpr int kWide = kLanes<Compute>;
  const int64_t sample = g.channels * g.positions, positions = unit.end - unit.begin;
  std::vector<Compute> sums(static_cast<size_t>(2 * kWide * g.channels));
  int64_t at = unit.first * sample + unit.begin;
  for (int64_t s = unit.first; s < unit.last; ++s, at += sample) {
    for (int64_t c = 0; c < g.channels; ++c) {
      Compute* lanes = sums.data() + 2 * kWide * c;
      const Channel<Compute>& channel = channels.planes(group)[c];
      const int64_t plane = at + c * g.positions;
      const typename T::bits* from = grad + plane;
      if constexpr (kKeep) {
        grad_z_plane<T, kActivation>(from, x + plane, kept + plane, positions, channel, slope);
        from = kept + plane;
      }
      grad_sum_plane<T, kRest>(from, x + plane, positions, channel, slope, lanes, lanes + kWide);
    }
  }
  for (int64_t c = 0; c < g.channels; ++c) {
    out[c] = sum_lanes(sums.data() + 2 * kWide * c);
    out[g.channels + c] = sum_lanes(sums.data() + 2 * kWide * c + kWide);
  }
}

// [groups, channels] each; h itself goes to `kept` if kKeep.
template <class T, Activation kActivation, bool kKeep = false>
void sums_cpu(const typename T::bits* grad, const typename T::bits* x, const Geometry& g,
              const Inputs<typename T::compute>& in, typename T::compute* sum_h,
              typename T::compute* sum_hx, typename T::bits* kept = nullptr) {
  using Compute = typename T::compute;
  const Channels<Compute> channels(g, in);
  const Units units(g);
  const int64_t width = 2 * g.channels;
  std::vector<double> table(static_cast<size_t>(g.groups * units.per_group * width));
  parallel_for(0, g.groups * units.per_group, unit_grain(units), [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      const int64_t group = u / units.per_group, start = group * g.group_elements();
      unit_sums<T, kActivation, kKeep>(grad + start, x + start, kKeep ? kept + start : nullptr, g,
                                       units[u % units.per_group], channels, group, in.slope,
                                       table.data() + u * width);
    }
  });
  std::vector<double> total(static_cast<size_t>(width));
  for (int64_t group = 0; group < g.groups; ++group) {
    std::fill(total.begin(), total.end(), 0.0);
    for (int64_t u = 0; u < units.per_group; ++u) {
      const double* row = table.data() + (group * units.per_group + u) * width;
      for (int64_t c = 0; c < width; ++c) total[static_cast<size_t>(c)] += row[c];
    }
    for (int64_t c = 0; c < g.channels; ++c) {
      sum_h[group * g.channels + c] = static_cast<Compute>(total[static_cast<size_t>(c)]);
      sum_hx[group * g.channels + c] =
          static_cast<Compute>(total[static_cast<size_t>(g.channels + c)]);
    }
  }
}

}  // namespace gankit::batch_norm_act
