"""The engine beside Snakemake and DVC: the same 1000 copies with nothing to do, and one large file taken into a store.

    python3 -m venv venv && venv/bin/pip install snakemake dvc
    PATH=$PWD/venv/bin:$PATH python3 benches/peers/engine.py target/debug/lsn [tasks] [GiB]

Prints wall and CPU seconds (best of three) from one run on one machine; programs take turns. Not part of any test.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

LSN = os.path.abspath(sys.argv[1])
TASKS = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
GIB = float(sys.argv[3]) if len(sys.argv) > 3 else 2


def timed(command, cwd):
    """Wall and CPU seconds of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, shell=isinstance(command, str), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def best(command, cwd, prepare=lambda: None, rounds=3):
    results = []
    for _ in range(rounds):
        prepare()
        results.append(timed(command, cwd))
    return min(wall for wall, _ in results), min(cpu for _, cpu in results)


def show(what, figures):
    print(f"{what:44} {figures[0]:8.3f} s wall {figures[1]:8.3f} s CPU", flush=True)


def copies(root):
    lsn = os.path.join(root, "lsn")
    snake = os.path.join(root, "snakemake")
    for directory in (lsn, snake):
        os.mkdir(directory)
        with open(os.path.join(directory, "in.txt"), "w") as file:
            file.write("some text\n")
    with open(os.path.join(lsn, "pipeline.yaml"), "w") as file:
        file.write(
            "lsn: 1\nstages:\n  copy:\n    uses: command\n"
            f"    matrix: {{i: {{range: [0, {TASKS}]}}}}\n    inputs: {{a: ./in.txt}}\n"
            '    with: {run: "cp ${inputs.a} ${outputs.out}; : ${matrix.i}", outputs: {out: out.txt}}\n'
        )
    with open(os.path.join(snake, "Snakefile"), "w") as file:
        file.write(
            f'rule all:\n    input: expand("out/{{i}}.txt", i=range({TASKS}))\n'
            'rule copy:\n    input: "in.txt"\n    output: "out/{i}.txt"\n    shell: "cp {input} {output}"\n'
        )
    run = [LSN, "run", "pipeline.yaml", "-j", "2", "--progress", "none"]
    show(f"lsn, {TASKS} copies, cold", timed(run, lsn))
    show(f"lsn, {TASKS} copies, nothing to do", best(run, lsn))
    if shutil.which("snakemake"):
        run = ["snakemake", "--cores", "2", "--quiet"]
        show(f"Snakemake, {TASKS} copies, cold", timed(run, snake))
        show(f"Snakemake, {TASKS} copies, nothing to do", best(run, snake))


def large(root):
    source = os.path.join(root, "source")
    block = os.urandom(1 << 20)
    with open(source, "wb") as file:
        for i in range(int(GIB * 1024)):
            file.write(i.to_bytes(8, "little"))
            file.write(block[8:])
        os.fsync(file.fileno())
    copy = os.path.join(root, "copy")

    def fresh():
        if os.path.exists(copy):
            os.remove(copy)

    show(f"cp of {GIB:g} GiB", best(["cp", "--reflink=never", source, copy], root, fresh))
    lsn = os.path.join(root, "lsn-large")
    os.mkdir(lsn)
    with open(os.path.join(lsn, "pipeline.yaml"), "w") as file:
        file.write(
            "lsn: 1\nstages:\n  copy:\n    uses: command\n"
            f'    with: {{run: "cp --reflink=never {source} ${{outputs.out}}", outputs: {{out: out.bin}}}}\n'
        )

    def forget():
        shutil.rmtree(os.path.join(lsn, ".lsn"), ignore_errors=True)

    show("lsn run of that cp, registered", best([LSN, "run", "pipeline.yaml", "--progress", "none"], lsn, forget))
    if shutil.which("dvc"):
        dvc = os.path.join(root, "dvc")
        os.mkdir(dvc)
        subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=dvc, check=True)

        def place():
            shutil.rmtree(os.path.join(dvc, ".dvc", "cache"), ignore_errors=True)
            for name in ("file", "file.dvc"):
                if os.path.exists(os.path.join(dvc, name)):
                    os.remove(os.path.join(dvc, name))
            shutil.copyfile(source, os.path.join(dvc, "file"))

        show(f"dvc add of {GIB:g} GiB (copy not counted)", best(["dvc", "add", "-q", "file"], dvc, place))


with tempfile.TemporaryDirectory() as root:
    copies(root)
    large(root)
