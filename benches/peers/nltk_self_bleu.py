#!/usr/bin/env python3
"""CPU time of nltk's and sacreBLEU's self-BLEU on the texts of `cargo bench -p lsn-labels --bench self_bleu`.

Opt-in: pip install nltk==3.10.4 sacrebleu==2.6.0. Usage: python benches/peers/nltk_self_bleu.py [PASSES]
"""
import sys
import time

import sacrebleu
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

TEXTS, TOKENS = 64, 200


def word(text, position):
    mixed = ((text * TOKENS + position + 1) * 0x9E3779B97F4A7C15) % 2**64 >> 40
    uniform = mixed % 1000
    return f"w{uniform * uniform // 2000}"


tokens = [[word(text, i) for i in range(TOKENS)] for text in range(TEXTS)]
texts = [" ".join(words) for words in tokens]


def nltk_form():
    smoothing = SmoothingFunction().method1
    scores = [
        sentence_bleu(tokens[:i] + tokens[i + 1 :], tokens[i], [0.25] * 4, smoothing_function=smoothing)
        for i in range(TEXTS)
    ]
    return sum(scores) / TEXTS


def sacrebleu_form():
    metric = sacrebleu.BLEU(effective_order=True)
    scores = [metric.sentence_score(texts[i], texts[:i] + texts[i + 1 :]).score for i in range(TEXTS)]
    return sum(scores) / TEXTS


for name, score in [("nltk", nltk_form), ("sacrebleu", sacrebleu_form)]:
    best = float("inf")
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        start = time.process_time()
        value = score()
        best = min(best, time.process_time() - start)
    print(f"{name}: {best * 1000:.0f} ms of CPU time, self-BLEU {value:.12f}")
