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

constexpr int64_t kUnitValues = 4096;     // of a channel in a unit of planes, where planes allow
constexpr int64_t kUnitRows = 256;        // rows in a unit of rows: as many values per accumulator
constexpr int64_t kElementGrain = 32768;  // elements per thread: some microseconds of work
constexpr int64_t kColumns = 512;         // columns of a unit of rows: what the first cache holds
constexpr int64_t kUnitChannels = 16;     // the same for planes, which have rows of lanes each
constexpr int64_t kShortPlane = 128;      // planes of fewer elements are columns of rows
constexpr int64_t kManySamples = 8;       // where there are so many of them

// A unit of a group, of channels [from, to). Rows: rows [first, last). Planes: samples [first,
// last) and positions [begin, end) of each.
struct Unit {
  int64_t from, to, first, last, begin, end;
};

// Short planes would leave most of their lanes empty, so a sample is then one row, with a column
// per channel and position; with channels last a position is a row, and a column a channel.
struct Units {
  Geometry g;
  bool rows;
  int64_t count, stride, columns;  // rows or samples, elements of each, columns of a channel
  int64_t each, pieces, positions_each, channels_each;  // of a unit
  int64_t per_channel, blocks;

  // Of groups that are not empty.
  explicit Units(const Geometry& geometry) : g(geometry) {
    const int64_t positions = g.positions;
    rows = g.channels_last || (positions < kShortPlane && g.samples >= kManySamples);
    count = g.channels_last ? g.count() : g.samples;
    stride = g.channels_last ? g.channels : g.channels * g.positions;
    columns = g.channels_last ? 1 : positions;
    each = rows ? kUnitRows : std::max<int64_t>(1, kUnitValues / positions);
    pieces = rows ? 1 : (positions + kUnitValues - 1) / kUnitValues;
    positions_each = (positions + pieces - 1) / pieces;
    channels_each = rows ? kColumns / columns : kUnitChannels;
    per_channel = (count + each - 1) / each * pieces;
    blocks = (g.channels + channels_each - 1) / channels_each;
  }

  int64_t total() const { return g.groups * per_channel * blocks; }
  int64_t group(int64_t u) const { return u / (per_channel * blocks); }
  // Where its sums stand in the table: the units of other channels share the line.
  int64_t line(int64_t u) const { return u / blocks; }

  Unit operator[](int64_t u) const {
    const int64_t part = line(u) % per_channel, from = u % blocks * channels_each;
    const int64_t first = part / pieces * each, begin = part % pieces * positions_each;
    return {from,  std::min(g.channels, from + channels_each),
            first, std::min(count, first + each),
            begin, std::min(g.positions, begin + positions_each)};
  }

  // Of a unit of planes: where it starts in its group, and how it lies there.
  int64_t start(const Unit& unit) const {
    return unit.first * stride + unit.from * g.positions + unit.begin;
  }
  Planes planes(const Unit& unit) const {
    return {unit.to - unit.from, g.positions, unit.end - unit.begin, unit.last - unit.first,
            stride};
  }
};

// --- statistics -------------------------------------------------------------------------------

// Sums of each channel from those of its columns.
template <class Compute>
void sum_columns(const Compute* values, int64_t channels, int64_t columns, double* out) {
  if (columns == 1) {
    std::copy_n(values, channels, out);
    return;
  }
  for (int64_t c = 0; c < channels; ++c, values += columns) {
    double sum = 0;
    for (int64_t k = 0; k < columns; ++k) sum += static_cast<double>(values[k]);
    out[c] = sum;
  }
}

template <class Compute, class Value>
void fill_columns(Compute* values, int64_t channels, int64_t columns, const Value& value) {
  for (int64_t c = 0; c < channels; ++c, values += columns) {
    std::fill_n(values, columns, static_cast<Compute>(value(c)));
  }
}

// Calls body(offset, planes) for parts of a unit. Few samples are one part, whose sums stay in
// registers from sample to sample; many go one by one, as they lie in memory.
template <class Body>
void for_each_part(const Planes& planes, const Body& body) {
  if (planes.samples < kManySamples) return body(0, planes);
  Planes one = planes;
  one.samples = 1;
  for (int64_t s = 0; s < planes.samples; ++s) body(s * planes.step, one);
}

// Moments of the channels of one unit; `x` is the start of the group. Squares are about a shift,
// the mean of the first rows or planes, a sixteenth of a whole unit.
template <class T>
void row_moments(const typename T::bits* x, const Units& units, const Unit& unit,
                 Moments<double>* out) {
  using Compute = typename T::compute;
  const int64_t channels = unit.to - unit.from, columns = units.columns, n = channels * columns;
  const int64_t rows = unit.last - unit.first;
  const auto count = static_cast<double>(rows * columns);
  Compute shift[kColumns] = {}, sum[kColumns] = {}, squares[kColumns] = {};
  double sums[kColumns], square_sums[kColumns];
  const typename T::bits* first = x + unit.first * units.stride + unit.from * columns;
  const int64_t probe = std::min<int64_t>(rows, kUnitRows / 16);
  sum_rows<T>(first, probe, units.stride, n, shift, sum, squares);
  sum_columns(sum, channels, columns, sums);
  const double share = 1 / static_cast<double>(probe * columns);
  const auto shift_of = [&](int64_t c) { return is_finite(sums[c]) ? sums[c] * share : 0.0; };
  if (columns == 1) {
    for (int64_t c = 0; c < channels; ++c) shift[c] = static_cast<Compute>(shift_of(c));
  } else {
    fill_columns(shift, channels, columns, shift_of);
  }
  for (Compute* zeros : {sum, squares}) std::fill_n(zeros, n, Compute(0));
  sum_rows<T>(first, rows, units.stride, n, shift, sum, squares);
  sum_columns(sum, channels, columns, sums);
  sum_columns(squares, channels, columns, square_sums);
  for (int64_t c = 0; c < channels; ++c) {
    const auto centre = static_cast<double>(shift[c * columns]);
    out[unit.from + c] = moments_of(count, centre, sums[c], square_sums[c]);
  }
}

template <class T>
void plane_moments(const typename T::bits* x, const Units& units, const Unit& unit,
                   Moments<double>* out) {
  using Compute = typename T::compute;
  const Planes planes = units.planes(unit);
  const auto count = static_cast<double>(planes.samples * planes.n);
  Compute lanes[kUnitChannels * 2 * kLanes<Compute>] = {}, shift[kUnitChannels] = {};
  double sums[2 * kUnitChannels];
  const typename T::bits* first = x + units.start(unit);
  Planes probe = planes;
  probe.samples = std::max<int64_t>(1, planes.samples / 16);
  const auto add = [&](int64_t at, const Planes& part) {
    sum_planes<T>(first + at, part, shift, lanes);
  };
  for_each_part(probe, add);
  total_lanes(lanes, 2 * planes.count, sums);
  for (int64_t c = 0; c < planes.count; ++c) {
    const double mean = sums[2 * c] / static_cast<double>(probe.samples * probe.n);
    shift[c] = is_finite(mean) ? static_cast<Compute>(mean) : Compute(0);
  }
  std::fill_n(lanes, planes.count * 2 * kLanes<Compute>, Compute(0));
  for_each_part(planes, add);
  total_lanes(lanes, 2 * planes.count, sums);
  for (int64_t c = 0; c < planes.count; ++c) {
    out[unit.from + c] = moments_of<double>(count, shift[c], sums[2 * c], sums[2 * c + 1]);
  }
}

inline int64_t unit_grain(const Units& units) {
  const int64_t all = units.total();
  const int64_t each = units.g.groups * units.g.group_elements() / std::max<int64_t>(all, 1);
  return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(each, 1));
}

// Mean and biased variance, [groups, channels]; zeros where there are no values.
template <class T>
void statistics_cpu(const typename T::bits* x, const Geometry& g, typename T::compute* mean,
                    typename T::compute* var) {
  using Compute = typename T::compute;
  if (g.count() == 0) {
    for (Compute* out : {mean, var}) std::fill_n(out, g.groups * g.channels, Compute(0));
    return;
  }
  const Units units(g);
  const auto channels = static_cast<size_t>(g.channels);
  std::vector<Moments<double>> table(static_cast<size_t>(g.groups * units.per_channel) * channels);
  parallel_for(0, units.total(), unit_grain(units), [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      const typename T::bits* group = x + units.group(u) * g.group_elements();
      Moments<double>* line = table.data() + static_cast<size_t>(units.line(u)) * channels;
      if (units.rows) {
        row_moments<T>(group, units, units[u], line);
      } else {
        plane_moments<T>(group, units, units[u], line);
      }
    }
  });
  for (int64_t group = 0; group < g.groups; ++group) {
    std::vector<Moments<double>> total(channels);
    for (int64_t u = 0; u < units.per_channel; ++u) {
      const auto* line =
          table.data() + static_cast<size_t>(group * units.per_channel + u) * channels;
      for (size_t c = 0; c < channels; ++c) total[c].add(line[c]);
    }
    for (size_t c = 0; c < channels; ++c) {
      const size_t at = static_cast<size_t>(group) * channels + c;
      mean[at] = static_cast<Compute>(total[c].mean);
      var[at] = static_cast<Compute>(total[c].deviations / std::max(total[c].count, 1.0));
    }
  }
}

// --- everything else needs the channels' parameters -------------------------------------------

// Structs for loops along planes, arrays of the same for loops along rows. The groups of `g` are
// the slices of `in`.
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

// Calls body(group, offset, count) for stretches of whole samples (planes) or rows of one group. A
// stretch of rows starts at a multiple of kRows, since the compiler may fuse the arithmetic of rows
// taken together in another way than that of the last ones: same bits for any number of threads.
template <class Body>
void for_each_stretch(const Geometry& g, const Body& body) {
  const int64_t together = g.channels_last ? kRows : 1;
  const int64_t all = g.channels_last ? g.count() : g.samples;
  const int64_t size = g.channels_last ? g.channels : g.channels * g.positions;
  const int64_t per_group = (all + together - 1) / together;
  const int64_t grain = std::max<int64_t>(1, kElementGrain / std::max<int64_t>(together * size, 1));
  parallel_for(0, g.groups * per_group, grain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t group = begin / per_group;
      const int64_t stop = std::min(end, (group + 1) * per_group);
      const int64_t first = (begin - group * per_group) * together;
      const int64_t last = std::min(all, (stop - group * per_group) * together);
      body(group, (group * all + first) * size, last - first);
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
void row_sums(const typename T::bits* grad, const typename T::bits* x, typename T::bits* kept,
              const Units& units, const Unit& unit, const Channels<typename T::compute>& channels,
              int64_t group, typename T::compute slope, double* out) {
  using Compute = typename T::compute;
  constexpr Activation kRest = kKeep ? Activation::kNone : kActivation;
  const int64_t count = unit.to - unit.from, columns = units.columns, n = count * columns;
  const int64_t rows = unit.last - unit.first, stride = units.stride;
  const int64_t at = unit.first * stride + unit.from * columns;
  Compute sum[kColumns] = {}, product[kColumns] = {}, expanded[4 * kColumns];
  ChannelArrays<Compute> arrays{};
  if (units.g.channels_last) {
    arrays = channels.rows(group, unit.from);
  } else {
    Compute *mean = expanded, *inverse = mean + n, *scale = inverse + n, *shift = scale + n;
    const Channel<Compute>* channel = channels.planes(group) + unit.from;
    fill_columns(mean, count, columns, [&](int64_t c) { return channel[c].mean; });
    fill_columns(inverse, count, columns, [&](int64_t c) { return channel[c].inverse; });
    fill_columns(scale, count, columns, [&](int64_t c) { return channel[c].scale; });
    fill_columns(shift, count, columns, [&](int64_t c) { return channel[c].shift; });
    arrays = {mean, inverse, scale, shift, nullptr, nullptr};
  }
  const typename T::bits* from = grad + at;
  if constexpr (kKeep) {
    grad_z_rows<T, kActivation>(from, x + at, kept + at, rows, stride, n, arrays, slope);
    from = kept + at;
  }
  grad_sum_rows<T, kRest>(from, x + at, rows, stride, n, arrays, slope, sum, product);
  sum_columns(sum, count, columns, out + unit.from);
  sum_columns(product, count, columns, out + units.g.channels + unit.from);
}

template <class T, Activation kActivation, bool kKeep>
void plane_sums(const typename T::bits* grad, const typename T::bits* x, typename T::bits* kept,
                const Units& units, const Unit& unit, const Channels<typename T::compute>& channels,
                int64_t group, typename T::compute slope, double* out) {
  using Compute = typename T::compute;
  constexpr Activation kRest = kKeep ? Activation::kNone : kActivation;
  const Planes planes = units.planes(unit);
  const int64_t start = units.start(unit);
  const Channel<Compute>* channel = channels.planes(group) + unit.from;
  const typename T::bits* from = grad + start;
  if constexpr (kKeep) {
    for (int64_t s = 0, at = start; s < planes.samples; ++s, at += planes.step) {
      grad_z_planes<T, kActivation>(grad + at, x + at, kept + at, planes.count, planes.stride,
                                    planes.n, channel, slope);
    }
    from = kept + start;
  }
  Compute lanes[kUnitChannels * 2 * kLanes<Compute>] = {};
  double sums[2 * kUnitChannels];
  for_each_part(planes, [&](int64_t at, const Planes& part) {
    grad_sum_planes<T, kRest>(from + at, x + start + at, part, channel, slope, lanes);
  });
  total_lanes(lanes, 2 * planes.count, sums);
  for (int64_t c = 0; c < planes.count; ++c) {
    out[unit.from + c] = sums[2 * c];
    out[units.g.channels + unit.from + c] = sums[2 * c + 1];
  }
}

// [groups, channels] each; h itself goes to `kept` if kKeep.
template <class T, Activation kActivation, bool kKeep = false>
void sums_cpu(const typename T::bits* grad, const typename T::bits* x, const Geometry& g,
              const Inputs<typename T::compute>& in, typename T::compute* sum_h,
              typename T::compute* sum_hx, typename T::bits* kept = nullptr) {
  using Compute = typename T::compute;
  if (g.count() == 0) {
    for (Compute* out : {sum_h, sum_hx}) std::fill_n(out, g.groups * g.channels, Compute(0));
    return;
  }
  const Channels<Compute> channels(g, in);
  const Units units(g);
  const int64_t width = 2 * g.channels;
  std::vector<double> table(static_cast<size_t>(g.groups * units.per_channel * width));
  parallel_for(0, units.total(), unit_grain(units), [&](int64_t begin, int64_t end) {
    const auto sums =
        units.rows ? row_sums<T, kActivation, kKeep> : plane_sums<T, kActivation, kKeep>;
    for (int64_t u = begin; u < end; ++u) {
      const int64_t group = units.group(u), start = group * g.group_elements();
      sums(grad + start, x + start, kKeep ? kept + start : nullptr, units, units[u], channels,
           group, in.slope, table.data() + units.line(u) * width);
    }
  });
  std::vector<double> total(static_cast<size_t>(width));
  for (int64_t group = 0; group < g.groups; ++group) {
    std::fill(total.begin(), total.end(), 0.0);
    for (int64_t u = 0; u < units.per_channel; ++u) {
      const double* line = table.data() + (group * units.per_channel + u) * width;
      for (int64_t c = 0; c < width; ++c) total[static_cast<size_t>(c)] += line[c];
    }
    for (int64_t c = 0; c < g.channels; ++c) {
      sum_h[group * g.channels + c] = static_cast<Compute>(total[static_cast<size_t>(c)]);
      sum_hx[group * g.channels + c] =
          static_cast<Compute>(total[static_cast<size_t>(g.channels + c)]);
    }
  }
}

}  // namespace gankit::batch_norm_act
