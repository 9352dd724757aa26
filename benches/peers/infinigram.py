"""Our n-gram index beside the infini-gram package, both ways: it opens what we built, we open what it built, and every
answer is compared. Opt-in: nothing in the build or the tests needs it.

    python3 -m venv venv && venv/bin/pip install infini-gram==2.6.0 numpy
    cargo build && venv/bin/python benches/peers/infinigram.py target/debug/lsn --tokenizer configs/models/tiny

What it does, on a text made up from a seed:
  1. `lsn index build` over JSONL, a byte a token (u8), in one shard; and the package's own index tools over the same tokens.
     The three files must be the same bytes. CPU time of both builds is printed.
  2. The package opens our index (u8; u16 too, where a tokenizer is given), and we open the package's (u8 and u16, in one
     shard and in several). At u32 its builder asks for 32 GiB, so there this script sorts the suffixes itself.
  3. count, prob, ntd, infgram_prob, infgram_ntd and find are asked for n-grams of the text, altered ones and random ones,
     and must agree (probabilities to 1e-12; next-token counts with a `max_support` above every count, so that the package
     is exact but for the slip that `same_next` names).
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import infini_gram
import numpy as np
from infini_gram.engine import InfiniGramEngine

WIDTHS = {"u8": np.uint8, "u16": np.uint16, "u32": np.uint32}
TOOLS = Path(infini_gram.__file__).parent / "rust_indexing"
OVERLAP = 100_000  # bytes that the package's parts share; its builder's constant
MOST_FOLLOWED = 500  # occurrences to ask the package's next-token counts of: it starts threads for them, and dies of too many


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def text(rng, size):
    """Documents of English-like words: frequencies fall as 1/rank, and some phrases come again."""
    word = lambda: "".join(rng.choice("etaoinshrdlu") for _ in range(rng.randint(2, 8)))
    words = [word() for _ in range(5000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    phrases = [" ".join(rng.choices(words, weights, k=9)) for _ in range(200)]
    documents = []
    while size > 0:
        pieces = rng.choices(words, weights, k=rng.randint(0, 300))
        pieces += rng.choices(phrases, k=rng.randint(0, 3))
        documents.append(" ".join(pieces))
        size -= len(documents[-1]) + 1
    return documents


def write_tokens(directory, shards, documents, width):
    """`tokenized.*` and `offset.*` as the package's tokenize step writes them."""
    directory.mkdir()
    dtype = WIDTHS[width]
    separator = np.array([np.iinfo(dtype).max], dtype=dtype).tobytes()
    per_shard = -(-len(documents) // shards)
    for shard in range(shards):
        part = documents[shard * per_shard : (shard + 1) * per_shard]
        encoded = [separator + np.array(document, dtype=dtype).tobytes() for document in part]
        offsets = np.cumsum([0] + [len(document) for document in encoded[:-1]], dtype=np.uint64)
        (directory / f"tokenized.{shard}").write_bytes(b"".join(encoded))
        (directory / f"offset.{shard}").write_bytes(offsets.tobytes())


def package_table(directory, width):
    """Runs the package's three build steps, as its indexing.py does with one process and one batch."""
    token = WIDTHS[width]().itemsize
    for data in sorted(directory.glob("tokenized.*")):
        size = data.stat().st_size
        ratio = int(np.ceil(np.log2(size) / 8))
        table = data.with_name(data.name.replace("tokenized", "table"))
        with tempfile.TemporaryDirectory() as scratch:
            parts, merged = Path(scratch) / "parts", Path(scratch) / "merged"
            parts.mkdir(), merged.mkdir()
            common = ["--ratio", str(ratio), "--token-width", str(token)]
            tool = lambda *args: subprocess.run([TOOLS, *map(str, args), *common], check=True, stdout=subprocess.DEVNULL)
            span = ["--data-file", data, "--parts-dir", parts]
            tool("make-part", *span, "--start-byte", 0, "--end-byte", size)
            tool("merge", *span, "--merged-dir", merged, "--num-threads", 1, "--hacksize", OVERLAP)
            tool("concat", "--data-file", data, "--merged-dir", merged, "--merged-file", table, "--num-threads", 1)


def sorted_table(directory, width):
    """The table by plain sorting. Suffixes that agree for 4000 bytes may come in any order: longer n-grams are not asked for."""
    token = WIDTHS[width]().itemsize
    for data in sorted(directory.glob("tokenized.*")):
        content = data.read_bytes()
        order = sorted(range(0, len(content), token), key=lambda at: content[at : at + 4000])
        pointer = max(1, ((len(content) - token).bit_length() + 7) // 8)
        table = b"".join(at.to_bytes(pointer, "little") for at in order)
        data.with_name(data.name.replace("tokenized", "table")).write_bytes(table)


def documents_of(directory, width):
    """The token ids of a directory's first shard."""
    tokens = np.fromfile(directory / "tokenized.0", dtype=WIDTHS[width])
    starts = np.fromfile(directory / "offset.0", dtype=np.uint64) // tokens.itemsize
    return [[int(token) for token in part[1:]] for part in np.split(tokens, starts[1:].astype(np.int64))]


def questions(rng, documents, width, count):
    """N-grams of one to twelve tokens: some as they are, some with a token changed, some at random."""
    top = min(np.iinfo(WIDTHS[width]).max - 1, 300)
    full = [document for document in documents if document]
    asked = [[]]
    for number in range(count):
        document = rng.choice(full)
        start = rng.randrange(len(document))
        ids = list(document[start : start + rng.randint(1, 12)])
        if number % 3 == 1:
            ids[rng.randrange(len(ids))] = rng.randint(0, top)
        if number % 10 == 2:
            ids = [rng.randint(0, top) for _ in ids]
        if number % 25 == 3:
            ids.append(int(np.iinfo(WIDTHS[width]).max))
        asked.append([int(token) for token in ids])
    return asked


def ask_lsn(lsn, directory, width, asked):
    lines = []
    for ids in asked:
        kinds = ["count", "ntd", "infgram-ntd", "find"] + (["prob", "infgram-prob"] if ids else [])
        lines += [json.dumps({"what": kind, "ids": ids}) for kind in kinds]
    command = [lsn, "index", "query", directory, "--batch", "-", "--width", width, "--show", "0"]
    said = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
    if said.returncode != 0:
        sys.exit(f"lsn index query: {said.stderr}")
    answers = iter(said.stdout.splitlines())
    return [{json.loads(line)["what"]: json.loads(next(answers)) for line in group} for group in grouped(lines, asked)]


def grouped(lines, asked):
    at = 0
    for ids in asked:
        size = 6 if ids else 4
        yield lines[at : at + size]
        at += size


def same_probability(ours, theirs, what):
    assert (ours["prompt_cnt"], ours["cont_cnt"]) == (theirs["prompt_cnt"], theirs["cont_cnt"]), (what, ours, theirs)
    value = -1.0 if ours["prob"] is None else ours["prob"]
    assert abs(value - theirs["prob"]) <= 1e-12, (what, ours, theirs)


def same_next(ours, theirs, end, what):
    assert not theirs["approx"], what
    found = {int(token): entry["cont_cnt"] for token, entry in ours["result_by_token_id"].items()}
    if ours["document_ends"]:
        found[end] = found.get(end, 0) + ours["document_ends"]
    expected = {token: entry["cont_cnt"] for token, entry in theirs["result_by_token_id"].items()}
    if expected == {end: ours["prompt_cnt"]} and ours["document_ends"] > 1:
        # The package's slip: where the n-gram ends the shard and another document, it takes every occurrence for an end.
        return
    assert found == expected, (what, found, expected)
    assert ours["prompt_cnt"] == theirs["prompt_cnt"], what


def compare(lsn, directory, width, asked):
    """All answers of both about one directory; gives how many were compared."""
    end = int(np.iinfo(WIDTHS[width]).max) - 1  # an id that the documents do not have
    vocabulary = int(np.iinfo(WIDTHS[width]).max)
    engine = InfiniGramEngine(
        index_dir=str(directory), eos_token_id=end, vocab_size=vocabulary, version=4, token_dtype=width, max_support=1 << 40
    )
    compared = 0
    for ids, ours in zip(asked, ask_lsn(lsn, directory, width, asked)):
        what = f"{directory} {ids}"
        assert ours["count"]["count"] == engine.count(input_ids=ids)["count"], what
        theirs = engine.find(input_ids=ids)
        assert ours["find"]["cnt"] == theirs["cnt"], what
        segments = [tuple(segment) for segment in theirs["segment_by_shard"]]
        ours_segments = [tuple(segment) for segment in ours["find"]["segment_by_shard"]]
        # Where nothing is found, the place where it would be is nobody's business.
        assert all(a == b or (a[0] == a[1] and b[0] == b[1]) for a, b in zip(ours_segments, segments, strict=True)), what
        compared += 2
        if ours["ntd"]["prompt_cnt"] <= MOST_FOLLOWED:
            same_next(ours["ntd"], engine.ntd(prompt_ids=ids), end, what)
            compared += 1
        if ours["infgram-ntd"]["prompt_cnt"] <= MOST_FOLLOWED:
            theirs = engine.infgram_ntd(prompt_ids=ids)
            same_next(ours["infgram-ntd"], theirs, end, what)
            assert ours["infgram-ntd"]["suffix_len"] == theirs["suffix_len"], what
            compared += 1
        if ids:
            *prompt, last = ids
            same_probability(ours["prob"], engine.prob(prompt_ids=prompt, cont_id=last), what)
            theirs = engine.infgram_prob(prompt_ids=prompt, cont_id=last)
            same_probability(ours["infgram-prob"], theirs, what)
            assert ours["infgram-prob"]["suffix_len"] == theirs["suffix_len"], what
            compared += 2
    return compared


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lsn", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="a folder with a tokenizer.json of 256 to 65535 tokens")
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    lsn = args.lsn.resolve()
    documents = text(rng, int(args.megabytes * 1e6))

    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        # 1. Bytes, through our reader of JSONL.
        source = scratch / "documents.jsonl"
        source.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents))
        before = children_cpu()
        subprocess.run([lsn, "index", "build", source, "--out", scratch / "ours"], check=True)
        ours_cpu = children_cpu() - before
        as_bytes = [list(document.encode()) for document in documents]
        write_tokens(scratch / "theirs", 1, as_bytes, "u8")
        before = children_cpu()
        package_table(scratch / "theirs", "u8")
        theirs_cpu = children_cpu() - before
        for name in ["tokenized.0", "offset.0", "table.0"]:
            same = (scratch / "ours" / name).read_bytes() == (scratch / "theirs" / name).read_bytes()
            assert same, f"{name} differs"
        size = (scratch / "ours" / "tokenized.0").stat().st_size / 1e6
        print(f"u8, {size:.1f} MB: the same bytes; CPU: ours, from JSONL, {ours_cpu:.2f} s, theirs, sorting only, {theirs_cpu:.2f} s")
        asked = questions(rng, as_bytes, "u8", args.questions)
        print(f"u8, our index: {compare(lsn, scratch / 'ours', 'u8', asked)} answers agree")

        if args.tokenizer:
            directory = scratch / "ours-u16"
            command = [lsn, "index", "build", source, "--out", directory, "--tokenizer", args.tokenizer]
            subprocess.run(command, check=True)
            asked = questions(rng, documents_of(directory, "u16"), "u16", args.questions)
            print(f"u16, our index: {compare(lsn, directory, 'u16', asked)} answers agree")

        # 2. and 3. Every width, in one shard and in several.
        for width in WIDTHS:
            if width == "u8":
                ids = as_bytes
            else:
                spread, most = (1, None) if width == "u16" else (1000, 200)
                draw = lambda: rng.choice([rng.randrange(40), rng.randrange(300)]) * spread
                ids = [[draw() for _ in document.split()] for document in documents[:most]]
            for shards in [1, args.shards]:
                directory = scratch / f"{width}-{shards}"
                write_tokens(directory, shards, ids, width)
                (sorted_table if width == "u32" else package_table)(directory, width)
                asked = questions(rng, ids, width, args.questions)
                print(f"{width}, shards: {shards}, not ours: {compare(lsn, directory, width, asked)} answers agree")


if __name__ == "__main__":
    main()
