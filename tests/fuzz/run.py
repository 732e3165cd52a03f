"""Fuzz targets of targets.py for so many CPU seconds each.

    python tests/fuzz/run.py [TARGET...] [--seconds N] [--seed N] [--finds FOLDER] [--guided]

Each target runs in a child of its own, so that a crash is a find too.  A find is kept in FOLDER and
printed; the exit status is 1 then.  Build with TCPAO_FAST_SANITIZE=address,undefined to find more.

With --guided coverage leads (libFuzzer, by `pip install atheris`), the mutations are the same.  It
sees the package's Python; the compiled core too, where clang built that for it:

    CC=clang TCPAO_FAST_SANITIZE=fuzzer-no-link,address python setup.py build_ext --inplace
    LD_PRELOAD=$(python -c 'import atheris; print(atheris.path())')/asan_with_fuzzer.so \
        ASAN_OPTIONS=detect_leaks=0 python tests/fuzz/run.py --guided
"""

from __future__ import annotations

import faulthandler
import os
import random
import sys
import time
import traceback
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))

GUIDED = "--guided" in sys.argv
if GUIDED:  # what is imported from here on is instrumented
    import atheris

    with atheris.instrument_imports(include=["tcpao_fast"]):
        from targets import TARGETS, mutated, seeds
else:
    from targets import TARGETS, mutated, seeds

TEXTS = ("state", "isns", "filters", "keys-")


def child(target: str, seconds: float, seed: int, finds: Path) -> int:
    """Fuzz one target; 0 where nothing was found."""
    faulthandler.enable()
    faulthandler.dump_traceback_later(120 + 20 * seconds, exit=True)  # of a busy machine
    rng = random.Random(f"{target} {seed}")
    corpus = seeds(target)
    last = finds / f"{target}.last"
    tried, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        data = corpus[tried] if tried < len(corpus) else mutated(
            rng.choice(corpus), corpus, rng, target.startswith(TEXTS))  # fmt: skip
        last.write_bytes(data)  # what is there after a crash is the find
        try:
            TARGETS[target](data)
        except Exception:
            kept = finds / f"{target}-{seed}-{tried}.find"
            last.rename(kept)
            traceback.print_exc()
            print(f"{target}: a find after {tried} inputs: {kept}", flush=True)
            return 1
        tried += 1
        if rng.random() < 0.05:
            corpus.append(data)
    last.unlink(missing_ok=True)
    print(
        f"{target}: {tried} inputs in {time.process_time() - began:.0f} CPU s, no find", flush=True
    )
    return 0


def guided_child(target: str, seconds: float, seed: int, finds: Path) -> int:
    """Fuzz one target under libFuzzer, which ends the process: with 0 where nothing was found."""
    corpus = seeds(target)
    folder = finds / f"{target}.corpus"
    folder.mkdir(exist_ok=True)
    for number, data in enumerate(corpus):
        (folder / f"seed-{number}").write_bytes(data)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.3:
            return atheris.Mutate(data, most)
        return mutated(data, corpus, rng, target.startswith(TEXTS))[:most]

    options = [
        f"-max_total_time={seconds:.0f}", f"-seed={seed}", "-timeout=60", "-rss_limit_mb=4096",
        "-max_len=20000", f"-artifact_prefix={finds}/{target}-", "-verbosity=0",
        "-print_final_stats=1",
    ]  # fmt: skip
    print(f"{target}:", flush=True)
    atheris.Setup([sys.argv[0], *options, str(folder)], TARGETS[target], custom_mutator=mutate)
    atheris.Fuzz()
    return 0


@click.command()
@click.argument("targets", nargs=-1, type=click.Choice(list(TARGETS)))
@click.option("--seconds", default=60.0, show_default=True, help="CPU time for each.")
@click.option("--seed", default=1, show_default=True)
@click.option("--finds", default="finds", type=click.Path(file_okay=False), show_default=True)
@click.option("--guided", is_flag=True, help="Let coverage lead.")
def main(targets: tuple[str, ...], seconds: float, seed: int, finds: str, guided: bool) -> None:
    """Fuzz TARGETS, or all."""
    folder = Path(finds)
    folder.mkdir(parents=True, exist_ok=True)
    found = 0
    for target in targets or TARGETS:
        process = os.fork()
        if process == 0:
            try:
                os._exit((guided_child if guided else child)(target, seconds, seed, folder))
            except BaseException:
                traceback.print_exc()
                os._exit(9)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status:
            found += 1
            print(f"{target}: ended with {status}", flush=True)
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
