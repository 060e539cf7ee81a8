"""Computes again, with torch and transformers in float64, what dump_logits.ts wrote for a model folder of ours.

Not part of the test suite, which needs no Python. To run it, from the root of the checkout:

    python3 -m venv venv-oracle
    venv-oracle/bin/pip install torch transformers tokenizers safetensors
    npm run build
    node dist/bench/oracle/dump_logits.js make llama some.txt folder        (or qwen3, mixtral; or any model folder)
    node dist/bench/oracle/dump_logits.js dump folder some.txt dump.safetensors
    venv-oracle/bin/python bench/oracle/check_folder.py folder dump.safetensors

Prints one line a comparison and exits with 1 if one fails: the folder loads without a missing or an unused weight, the
tokenizer gives our ids, the logits and the perplexity over the same windows are ours, greedy generation gives our text.
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, __version__

LOGITS = 1e-4
PERPLEXITY = 1e-5
BATCH = 32


def main(folder, dump):
    failures = 0

    def check(name, passed, detail):
        nonlocal failures
        failures += not passed
        print(f"{'ok    ' if passed else 'FAILED'} {name}: {detail}")

    with safe_open(dump, framework="pt") as file:
        windows, selected, ours = (file.get_tensor(name) for name in ("windows", "selected", "logits"))
        notes = file.metadata()

    model, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, output_loading_info=True)
    model.eval()
    # The grouped products of torch know no float64.
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    print(f"{type(model).__name__} of transformers {__version__}, torch {torch.__version__}, float64")
    problems = {key: sorted(value) for key, value in loading.items() if value}
    check("weights", not problems, problems or "none missing, none unused")

    tokenizer = AutoTokenizer.from_pretrained(folder)
    documents = json.loads(notes["documents"])
    marker = tokenizer.bos_token_id
    ids = [[marker, *tokenizer.encode(text, add_special_tokens=False)] for text in documents]
    length = windows.shape[1] - 1
    cut = [one[at : at + length + 1] for one in ids for at in range(0, len(one) - 1, length)]
    same = cut == [[i for i in row if i >= 0] for row in windows.tolist()]
    check("token ids", same, f"{sum(map(len, ids))} in {len(documents)} documents, {len(cut)} windows")
    texts = [tokenizer.decode(one[1:]) for one in ids]
    check("decoding", texts == documents, f"{sum(map(len, texts))} characters")

    with torch.no_grad():
        theirs = torch.cat([model(row[row >= 0][:-1].long()[None]).logits[0] for row in windows[selected.long()]])
        difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        check("logits", difference < LOGITS, f"{list(ours.shape)}, largest difference / largest logit {difference:.3g}")

        total, tokens = 0.0, 0
        # Padding stands at the end, where causal attention does not look.
        for rows in windows.long().split(BATCH):
            targets = rows[:, 1:].flatten()
            logits = model(rows[:, :-1].clamp(min=0)).logits.flatten(0, 1)
            total += torch.nn.functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum").item()
            tokens += (targets >= 0).sum().item()
        perplexity = torch.exp(torch.tensor(total / tokens, dtype=torch.float64)).item()
        expected = torch.exp(torch.tensor(float(notes["nll"]), dtype=torch.float64)).item()
        near = abs(perplexity / expected - 1) < PERPLEXITY and tokens == int(notes["tokens"])
        check("perplexity", near, f"ours {expected:.6f}, theirs {perplexity:.6f}, {tokens} tokens")

        prompt = [marker, *tokenizer.encode(notes["prompt"], add_special_tokens=False)]
        room = model.config.max_position_embeddings - len(prompt)
        new = min(int(notes["new_tokens"]), room)
        written = model.generate(
            torch.tensor([prompt]), max_new_tokens=new, do_sample=False, temperature=None, top_k=None
        )[0][len(prompt) :]
        greedy = tokenizer.decode(written, skip_special_tokens=True)
        check("greedy text", notes["greedy"].startswith(greedy.rstrip("\ufffd")) and greedy != "", f"{new} tokens")
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: check_folder.py FOLDER DUMP.safetensors")
    sys.exit(main(*sys.argv[1:]))
