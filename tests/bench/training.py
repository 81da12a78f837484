"""The model and the steps of training.rs with torch: python tests/bench/training.py [--checkpointing] [--fused] [--eager].

Needs torch alone. Prints the median of five steps after one that warms up, processor time, and the peak of resident
memory, of which some 250 MiB are torch itself.
"""

import argparse
import resource
import time

import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn import functional as F

VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, INNER = 32_000, 512, 8, 8, 4, 1408
ROWS, TOKENS, STEPS, LR = 2, 512, 5, 0.1
WIDTH = HIDDEN // HEADS


def rotate(x, cos, sin):
    return x * cos + torch.cat((-x[..., WIDTH // 2 :], x[..., : WIDTH // 2]), -1) * sin


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(HIDDEN, 1e-5), nn.RMSNorm(HIDDEN, 1e-5)
        linear = lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False)
        self.query, self.output = linear(HIDDEN, HIDDEN), linear(HIDDEN, HIDDEN)
        self.key, self.value = linear(HIDDEN, KV_HEADS * WIDTH), linear(HIDDEN, KV_HEADS * WIDTH)
        self.gate, self.up, self.down = linear(HIDDEN, INNER), linear(HIDDEN, INNER), linear(INNER, HIDDEN)

    def forward(self, x, cos, sin, eager):
        rows, tokens, _ = x.shape
        normed = self.norm1(x)
        split = lambda y, heads: y.view(rows, tokens, heads, WIDTH).transpose(1, 2)
        q, k, v = split(self.query(normed), HEADS), split(self.key(normed), KV_HEADS), split(self.value(normed), KV_HEADS)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if eager:
            k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
            hidden = torch.full((tokens, tokens), -torch.inf).triu(1)
            y = F.softmax(q @ k.transpose(2, 3) / WIDTH**0.5 + hidden, -1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.output(y.transpose(1, 2).reshape(rows, tokens, HIDDEN))
        normed = self.norm2(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(VOCAB, HIDDEN), nn.RMSNorm(HIDDEN, 1e-5)
        self.layers, self.head = nn.ModuleList(Layer() for _ in range(LAYERS)), nn.Linear(HIDDEN, VOCAB, bias=False)

    def forward(self, ids, options, cos, sin):
        x = self.embedding(ids)
        for layer in self.layers:
            if options.checkpointing:
                x = torch.utils.checkpoint.checkpoint(layer, x, cos, sin, options.eager, use_reentrant=False)
            else:
                x = layer(x, cos, sin, options.eager)
        logits = self.head(self.norm(x))[:, :-1]
        return F.cross_entropy(logits.reshape(-1, VOCAB), ids[:, 1:].reshape(-1))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--fused", action="store_true")
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = Model()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.02)
    ids = (torch.arange(ROWS * TOKENS) * 2_654_435_761 % 2**32 % VOCAB).view(ROWS, TOKENS)
    frequencies = 10_000.0 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
    angles = torch.cat((torch.outer(torch.arange(TOKENS), frequencies),) * 2, -1)

    def apply(parameter):
        with torch.no_grad():
            parameter.add_(parameter.grad, alpha=-LR)
        parameter.grad = None

    if options.fused:
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(apply)
    times = []
    for _ in range(STEPS + 1):
        began, processor = time.perf_counter(), time.process_time()
        loss = model(ids, options, angles.cos(), angles.sin())
        loss.backward()
        if not options.fused:
            for parameter in model.parameters():
                apply(parameter)
        times.append((time.perf_counter() - began, time.process_time() - processor))
    wall, cpu = (sorted(column)[STEPS // 2] * 1e3 for column in zip(*times[1:]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kind = "eager" if options.eager else "sdpa"
    print(f"torch {torch.__version__} {kind}, checkpointing {options.checkpointing}, fused {options.fused}: "
          f"{wall:.0f} ms, {cpu:.0f} CPU ms, {peak:.0f} MiB, loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
