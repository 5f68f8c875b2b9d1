"""Reading the command line. What the commands do is imported only when one runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import NoReturn

from gankit._version import __version__
from gankit.cli.numbers import fraction, port, positive, seconds, seed
from gankit.cli.run import add_arguments
from gankit.cli.streams import abandon, every_name_printable, gone
from gankit.errors import GankitError


class _Stop(Exception):
    """The command line itself is wrong."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Stop(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``argv`` (default: the process's arguments) and return its exit code.

    0: done. 1: done, but for files that could not be read. 2: one sentence on stderr says what is
    wrong. 129: ended by SIGHUP. 130: interrupted. 141: nobody reads the output any more. 143: ended
    by SIGTERM.
    """
    try:
        code = _main(argv)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        abandon(sys.stdout)
        abandon(sys.stderr)
        return 141


def _main(argv: Sequence[str] | None) -> int:
    try:
        arguments, unknown = _parser().parse_known_args(argv)
        if unknown:
            words = " ".join(unknown)
            help = f"gankit {arguments.command} --help"
            raise _Stop(f"unrecognized arguments: {words} (see {help})")
        # A script that is run prints as it would without us.
        with nullcontext() if arguments.command == "run" else every_name_printable():
            return _run(arguments)
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    except (GankitError, _Stop) as error:
        return _fail(_with_notes(str(error), error))
    except ImportError as error:  # gankit's own sentence about a torch that is too old or absent
        return _fail(str(error))
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        what = " ".join(str(error).split()) or "Python could not get more"
        return _fail(_with_notes(f"not enough memory: {what}", error))
    except OSError as error:
        # The same kind comes of a connection that a callback or a data set has lost.
        if isinstance(error, BrokenPipeError) and (gone(sys.stdout) or gone(sys.stderr)):
            raise
        what = error.strerror or str(error)
        what = f"{error.filename}: {what}" if error.filename else what
        return _fail(_with_notes(what, error))
    except KeyboardInterrupt as stop:
        what = f"gankit: {getattr(stop, 'words', 'interrupted')}"
        with suppress(OSError):  # the terminal may have gone
            print(_with_notes(what, stop), file=sys.stderr)
        return int(getattr(stop, "code", 130))


def _is_lack_of_memory(error: BaseException) -> bool:
    # Of torch's own, that of a GPU has a class, and that of the CPU just words.
    kind = type(error).__name__
    return kind in ("MemoryError", "OutOfMemoryError") or "can't allocate memory" in str(error)


def _with_notes(what: str, error: BaseException) -> str:
    """What came, and what it leaves of a run."""
    return "; ".join([what.rstrip("."), *getattr(error, "__notes__", ())])


def _fail(message: str) -> int:
    print(f"gankit: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _run(arguments: argparse.Namespace) -> int:
    command: str = arguments.command
    if command == "recipes":
        return _recipes(arguments.recipe)
    if command == "doctor":
        from gankit import doctor

        return doctor.main()
    # Each of the others is a function in a file, both of its name.
    module = import_module(f"gankit.cli.{command}")
    return int(getattr(module, command)(arguments))


def _recipes(name: str | None) -> int:
    from gankit import recipes

    if name is not None:
        recipe = recipes.get(name)
        print(f"{name}: {recipe.summary}")
        for source in recipe.sources:
            print(f"    {source}")
        return 0
    names = recipes.names()
    width = max(len(name) for name in names)
    for name in names:
        print(f"{name:{width}}  {recipes.get(name).summary}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="gankit", description="Train GANs faster in PyTorch.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"gankit {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )

    def command(name: str, what: str) -> argparse.ArgumentParser:
        description = f"{what[0].upper()}{what[1:]}."
        return commands.add_parser(name, help=what, description=description, allow_abbrev=False)

    _add_train(command("train", "train a recipe"))
    _add_sample(command("sample", "draw images from a run"))
    _add_evaluate(command("evaluate", "say how good the images of a run or a folder are"))
    _add_translate(command("translate", "turn images into those of another domain"))
    _add_invert(command("invert", "find the noise whose images are nearest to given ones"))
    _add_attack(command("attack", "change images so that a classifier gets them wrong"))
    _add_enhance(command("enhance", "take the noise out of speech"))
    _add_upscale(command("upscale", "make images larger"))
    drawing = command("plot", "draw the curves and the GIF of a run")
    drawing.add_argument("run", metavar="DIR", help="folder of a run")
    drawing.add_argument("--mp4", action="store_true", help="and a video, samples.mp4")
    _add_compare(command("compare", "put runs beside one another"))
    page = command("report", "write report.html, the page of a run")
    page.add_argument("run", metavar="DIR", help="folder of a run")
    page.add_argument("--out", metavar="FILE", help="page to write (default: DIR/report.html)")
    add_arguments(command("run", "run a training script faster"))
    _add_demo(command("demo", "play with a generator in the browser"))
    _add_export(command("export", "write a generator"))
    _add_push(command("push", "upload a generator to the Hugging Face Hub"))
    shipped = command("hub", "list the models that gankit brings along")
    shipped.add_argument("name", nargs="?", metavar="NAME", help="one, with its card")
    listing = command("recipes", "list the recipes")
    listing.add_argument("recipe", nargs="?", metavar="RECIPE", help="one, with all its sources")
    _add_bench(command("bench", "time gankit beside plain PyTorch"))
    command("doctor", "say what runs where and why")
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", nargs="?", metavar="RECIPE", help="see `gankit recipes`; --config may name it")
    add(
        "--data",
        metavar="D",
        help="digits, mnist, fashion-mnist, cifar10, celeba, lsun, photographs, folder:PATH, "
        "csv:PATH, wds:PATH, npz:PATH, idx:PATH, audio:PATH, pairs:PATH, unpaired:PATH, "
        "highres:PATH, toy:NAME or an import path",
    )
    add("--data-root", metavar="P", help="folder of downloaded data sets and decoded images")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=positive, metavar="N")
    length.add_argument("--steps", type=positive, metavar="N")
    add("--batch-size", type=positive, metavar="N")
    add("--lr", type=float, metavar="F", help="learning rate of G, and of D unless d_lr is set")
    add("--z-dim", type=positive, metavar="N", help="length of the noise vector")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), help="auto: cuda, mps or cpu")
    add("--out", metavar="DIR", help="where the run goes (default: runs/RECIPE)")
    after = parser.add_mutually_exclusive_group()
    after.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    after.add_argument("--resume", action="store_true", help="continue the run in DIR")
    _add_trust(parser)
    add("--seed", type=seed, metavar="N")
    add("--config", metavar="FILE", help="YAML settings, such as a run's config.yaml")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one setting, in YAML, or an argument, as discriminator.dropout=0 or n_critic=5; may "
        "be given again",
    )
    add("--quiet", action="store_true", help="print nothing but warnings and errors")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Time gankit beside plain PyTorch, a well tuned one and torch.compile, which take turns in "
        "one process. The committed result for the same device, if there is one, is the baseline. "
        "Exit code 1: something is slower than before beyond the noise of both runs."
    )
    add = parser.add_argument
    add("what", nargs="?", metavar="WHAT", help="ops, steps (default), scripts or a recipe")
    add("--compare", nargs=2, metavar=("A", "B"), help="measure nothing: is B.json slower than A?")
    add("--json", metavar="FILE", help="write the result")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    add("--threads", type=positive, metavar="N", help="of the CPU (default: torch's)")
    add("--seconds", type=seconds, metavar="S", help="for each contender (ops: 0.5, steps: 5)")
    add("--only", default="", metavar="T,...", help="tasks whose names have one of these parts")
    add("--leave-out", default="", metavar="T,...", help="contenders, by parts of their names")
    add("--cpu-time", action="store_true", help="count CPU time: for a busy machine, one thread")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the recipe")


def _add_sample(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", metavar="DIR", help="folder of a run, or a checkpoint")
    add("--n", type=positive, default=64, metavar="N", help="number of images (default: 64)")
    add(
        "--out",
        default="grid.png",
        metavar="PATH",
        help="FILE.png: a grid (default: grid.png); FILE.npz: arrays images (uint8) and labels; "
        "FOLDER/: a PNG per image; FILE.gif, FILE.mp4: a way through the latent space",
    )
    add("--columns", type=positive, metavar="N", help="of the grid (default: one per class)")
    add("--scale", type=positive, metavar="N", help="pixels of the grid per pixel of an image")
    add("--seed", type=seed, default=0, metavar="N", help="decides the images (default: 0)")
    add("--label", metavar="CLASS", help="number or name of the class of all images")
    add("--truncation", type=float, metavar="T", help="draw no value of z beyond T")
    add(
        "--standing-stats",
        type=positive,
        metavar="N",
        help="take batch norm's statistics anew, from N samples of all classes",
    )
    latent = parser.add_argument_group("the latent space, in place of samples")
    more = latent.add_argument
    more("--walk", type=seed, nargs=2, metavar=("A", "B"), help="from the image of seed A to B's")
    more("--slerp", action="store_true", help="go along the great circle, not the line")
    more("--grid", type=seed, nargs=4, metavar=tuple("ABCD"), help="between four seeds' images")
    more("--toward", type=seed, metavar="CLASS", help="along the direction of a class, a row each")
    more("--sefa", type=positive, metavar="N", help="along the N directions of greatest change")
    more("--arithmetic", metavar="EXPR", help="sums of classes, as '7 - 1 + 0'")
    more(
        "--steps", type=positive, metavar="N", help="images on the way (default: 9, of a movie 60)"
    )
    more(
        "--classifier", metavar="MODEL", help="as of gankit attack (default: learnt from the data)"
    )
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="cpu", help="default: cpu")
    _add_trust(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Compare generated images with real ones: those that a run draws or translates, or those "
        "of a folder. The result says features, numbers of images, preprocessing, seed and "
        "versions; that of a run is kept in its folder as evaluation.json."
    )
    add = parser.add_argument
    add("path", metavar="DIR", help="folder of a run, a checkpoint, a folder of images, or a set")
    add("--against", metavar="D", help="real images: a set or a folder (default: the run's data)")
    add(
        "--metrics",
        metavar="M,...",
        help="fid, kid, is, prc, coverage, ppl, classes, nearest, label_accuracy; of paired images "
        "l1, psnr, ssim, lpips (default: what fits)",
    )
    add(
        "--features",
        default="auto",
        metavar="F",
        help="small: a classifier fitted to the real images; inception, vgg16, clip, dino; or an "
        "import path (default: small for labelled grey images up to 32x32, else inception)",
    )
    add("--weights", metavar="FILE", help="of the features (default: where torch keeps them)")
    add("--n", type=positive, metavar="N", help="of generated images (default: as many as real)")
    add("--batch-size", type=positive, default=64, metavar="N", help="default: 64")
    add("--split", choices=("train", "test", "all"), help="of the real images (default: train)")
    add("--image-size", type=positive, metavar="N", help="to which read images are resized")
    add("--data-root", metavar="P", help="folder of downloaded data sets")
    add("--direction", choices=("a2b", "b2a"), help="needed where the run goes both ways")
    add("--seed", type=seed, default=0, metavar="N", help="of noise and metrics (default: 0)")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="cpu", help="default: cpu")
    add("--json", action="store_true", help="print the result as JSON")
    _add_trust(parser)


def _add_translate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Turn images into those of another domain, with a run of pix2pix, CycleGAN, DiscoGAN or "
        "StarGAN. Images may have any size. Exit code 1: some of them could not be read, and were "
        "skipped."
    )
    add = parser.add_argument
    add("run", metavar="DIR", help="folder of a run, a checkpoint, or an exported .safetensors")
    add("input", metavar="INPUT", help="an image, or a folder of images, also in folders below it")
    add("--out", required=True, metavar="FOLDER", help="new folder for the PNGs, of the same names")
    add("--direction", choices=("a2b", "b2a"), help="needed where the run goes both ways")
    add(
        "--to",
        metavar="DOMAIN",
        help="name or number of a domain, for runs of many; A,B: those attributes and no others, "
        "none: no attribute; all: a folder of FOLDER for each",
    )
    add("--seed", type=seed, default=0, metavar="N", help="decides the noise (default: 0)")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="cpu", help="default: cpu")
    _add_trust(parser)


def _add_invert(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", metavar="DIR", help="folder of a run, or a checkpoint")
    add("image", metavar="IMAGE", help="an image, or a folder of images")
    add(
        "--out",
        default="invert.png",
        metavar="PATH",
        help="FILE.png: images above what was found (default: invert.png); FILE.npz: z and images",
    )
    add("--steps", type=positive, default=400, metavar="N", help="updates of z (default: 400)")
    add("--starts", type=positive, default=4, metavar="N", help="tries per image (default: 4)")
    add("--label", metavar="CLASS", help="of conditional runs (default: each is tried)")
    add("--seed", type=seed, default=0, metavar="N", help="decides the starts (default: 0)")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="cpu", help="default: cpu")
    _add_trust(parser)


def _add_attack(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Change images, each value by eps at most, so that a classifier gets them wrong, and say "
        "how often it does. Without labels its own predictions stand for them."
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a run of sgan, a checkpoint, or a module's import path")
    add("images", metavar="IMAGES", help="an image, a folder (of classes), or a set as of --data")
    add("--eps", type=fraction, required=True, metavar="E", help="of the range of values: 8/255")
    add("--method", choices=("pgd", "fgsm"), default="pgd", help="default: pgd")
    add("--norm", choices=("linf", "l2"), default="linf", help="what eps bounds (default: linf)")
    add("--steps", type=positive, metavar="N", help="of PGD (default: 40)")
    add("--restarts", type=positive, metavar="N", help="tries per image of PGD (default: 1)")
    add("--target", type=seed, metavar="CLASS", help="the class that all shall be taken for")
    add(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values that the classifier takes (default: -1 1 for a run, 0 1 for a module)",
    )
    add("--n", type=positive, default=256, metavar="N", help="images of a set (default: 256)")
    add("--split", choices=("train", "test", "all"), default="all", help="of a set (default: all)")
    add("--image-size", type=positive, metavar="N", help="default: the run's, or the images' own")
    add("--data-root", metavar="P", help="folder of downloaded data sets and decoded images")
    add(
        "--out",
        default="attack.png",
        metavar="PATH",
        help="FILE.png: a picture of ten (default: attack.png); FILE.npz: arrays; FOLDER/: PNGs",
    )
    add("--seed", type=seed, default=0, metavar="N", help="of images and starts (default: 0)")
    add("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="default: cpu")
    _add_trust(parser)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print what differs between runs and how far they came, and draw samples of each, from the "
        "same noise where it fits, and their curves."
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="DIR", help="folders of two or more runs")
    add("--out", default="compare.png", metavar="FILE", help="picture (default: compare.png)")
    add("--json", action="store_true", help="print the table as JSON")
    add("--seed", type=seed, default=0, metavar="N", help="decides the samples (default: 0)")
    _add_trust(parser)


def _add_enhance(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Take the noise out of speech, with a run of segan. Files may have any length and rate, "
        "and keep rate, channels and format. Exit code 1: some could not be read, and were skipped."
    )
    add = parser.add_argument
    add("run", metavar="DIR", help="folder of a run, a checkpoint, or an exported .safetensors")
    add("input", metavar="INPUT", help="a sound file, or a folder, also in folders below it")
    add(
        "--out",
        required=True,
        metavar="PATH",
        help="new folder for files of the same names, or a new file for one",
    )
    add("--seed", type=seed, default=0, metavar="N", help="decides the noise z (default: 0)")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="cpu", help="default: cpu")
    _add_trust(parser)


def _add_upscale(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make images larger, with a run of srresnet or srgan. Images may have any size, are grey "
        "or in color, and keep their opacity. Exit code 1: some could not be read."
    )
    add = parser.add_argument
    add("run", metavar="DIR", help="folder of a run, a checkpoint, or an exported .safetensors")
    add("input", metavar="INPUT", help="an image, or a folder of images, also in folders below it")
    add(
        "--out",
        required=True,
        metavar="PATH",
        help="new folder for PNGs of the same names, or a new FILE.png for one image",
    )
    add(
        "--tile",
        type=positive,
        default=128,
        metavar="N",
        help="side of the squares of INPUT that are made at once (default: 128); bounds the memory",
    )
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="cpu", help="default: cpu")
    _add_trust(parser)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Serve a page in the browser: images by seed, class and truncation, walks and directions; "
        "or an image or speech in and out, where the generator takes one. Ctrl-C ends it."
    )
    add = parser.add_argument
    add("run", metavar="DIR", help="folder of a run, a checkpoint, or an exported .safetensors")
    add("--host", metavar="H", help="address to listen at (default: 127.0.0.1, this machine alone)")
    add("--port", type=port, metavar="N", help="default: the first free one from 7860 on")
    add("--share", action="store_true", help="also a public address, through Gradio's server")
    add("--no-open", action="store_true", help="open no browser")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="cpu", help="default: cpu")
    _add_trust(parser)


def _add_export(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", metavar="DIR", help="folder of a run, or a checkpoint")
    add("--format", required=True, choices=("safetensors", "torch-export", "onnx", "hub", "space"))
    add(
        "--out",
        metavar="PATH",
        help="file to write (default: DIR/generator and its suffix); of hub and space a new folder",
    )
    add("--direction", choices=("a2b", "b2a"), help="of a run that translates both ways")
    add("--license", metavar="L", help="of the weights, for the card of --format hub, such as mit")
    _add_trust(parser)


def _add_push(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Upload the generator of a run, with its settings and a model card, to the Hugging Face "
        "Hub. Who uploads is told by `hf auth login` or HF_TOKEN."
    )
    add = parser.add_argument
    add("run", metavar="DIR", help="folder of a run, a checkpoint, or a folder of --format hub")
    add("repository", metavar="USER/NAME", help="made where it is not there")
    add("--private", action="store_true", help="make a new repository private")
    add("--revision", metavar="BRANCH", help="made where it is not there (default: the main one)")
    add("--license", metavar="L", help="of the weights, for their card, such as mit")
    _add_trust(parser)


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run code that the run in DIR names and that is not gankit's",
    )
