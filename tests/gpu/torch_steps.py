"""Training steps of a Llama-shaped model in torch, to be measured in the same call as ours.

    python3 tests/gpu/torch_steps.py --batch 2 --seq 512 [--compile] [--fused] [--config 1b|small|experts] [--grouped-mm] [--dtype bf16|f32]

The model has the shape and the optimizer (plain SGD) of
`chandlery -p llama -t llama3.2_1b model --tie-word-embeddings=false --dtype bfloat16 test`, or with `--config experts` of a
mixture of 0.52 B parameters (`-p mixtral` with the sizes below). Tokens are sorted by expert, and each expert has a product of
its own, or with `--grouped-mm` all have one of torch's grouped ones. Prints one JSON line:
median milliseconds of a step after the first three, and the peak of allocated memory.
"""
import argparse, json, time
import torch, torch.nn as nn, torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("--config", default="1b")
p.add_argument("--dtype", default="bf16")
p.add_argument("--batch", type=int, default=2)
p.add_argument("--seq", type=int, default=512)
p.add_argument("--steps", type=int, default=13)
p.add_argument("--compile", action="store_true")
p.add_argument("--grouped-mm", action="store_true", help="torch's grouped products for experts")
p.add_argument("--fused", action="store_true", help="SGD in hooks during backward")
a = p.parse_args()
SIZES = {
    "small": (512, 8, 8, 4, 1408, 32000, 1e4, 0),
    "1b": (2048, 16, 32, 8, 8192, 128256, 5e5, 0),
    "experts": (1024, 12, 16, 8, 704, 32000, 1e6, 16),
}
H, L, NH, KV, FF, V, THETA, EXPERTS = SIZES[a.config]
ACTIVE = 2
D = H // NH
dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[a.dtype]
torch.manual_seed(0)


def rope(x, c, s):
    return x * c + torch.cat((-x[..., D // 2 :], x[..., : D // 2]), -1) * s


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.router = nn.Linear(H, EXPERTS, bias=False)
        if a.grouped_mm:
            self.both, self.down = nn.Parameter(torch.empty(EXPERTS, H, 2 * FF)), nn.Parameter(torch.empty(EXPERTS, FF, H))
        else:
            matrices = lambda outputs, inputs: nn.ParameterList(nn.Parameter(torch.empty(outputs, inputs)) for _ in range(EXPERTS))
            self.gate, self.up, self.down = matrices(FF, H), matrices(FF, H), matrices(H, FF)

    def forward(self, x):
        shape = x.shape
        x = x.reshape(-1, H)
        weights, chosen = F.softmax(self.router(x).float(), -1).topk(ACTIVE, -1)
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        chosen = chosen.flatten()
        order = chosen.argsort(stable=True)
        counts, rows = chosen.bincount(minlength=EXPERTS), x[order // ACTIVE]
        if a.grouped_mm:
            ends = counts.cumsum(0).int()
            gate, up = torch._grouped_mm(rows, self.both, offs=ends).chunk(2, -1)
            made = torch._grouped_mm(F.silu(gate) * up, self.down, offs=ends)
        else:
            parts = rows.split(counts.tolist())
            expert = lambda e, x: F.linear(F.silu(F.linear(x, self.gate[e])) * F.linear(x, self.up[e]), self.down[e])
            made = torch.cat([expert(e, part) for e, part in enumerate(parts)])
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order), device=order.device)
        return (made[places].view(-1, ACTIVE, H) * weights[..., None]).sum(1).view(shape)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.n1, self.n2 = nn.Parameter(torch.ones(H)), nn.Parameter(torch.ones(H))
        self.q, self.k, self.v, self.o = linear(H, NH * D), linear(H, KV * D), linear(H, KV * D), linear(NH * D, H)
        if EXPERTS:
            self.experts = Experts()
        else:
            self.gate, self.up, self.down = linear(H, FF), linear(H, FF), linear(FF, H)

    def forward(self, x, c, s):
        B, S, _ = x.shape
        h = F.rms_norm(x, (H,), self.n1, 1e-5)
        q, k, v = (w(h).view(B, S, n, D).transpose(1, 2) for w, n in ((self.q, NH), (self.k, KV), (self.v, KV)))
        y = F.scaled_dot_product_attention(rope(q, c, s), rope(k, c, s), v, is_causal=True, enable_gqa=True)
        x = x + self.o(y.transpose(1, 2).reshape(B, S, NH * D))
        h = F.rms_norm(x, (H,), self.n2, 1e-5)
        return x + (self.experts(h) if EXPERTS else self.down(F.silu(self.gate(h)) * self.up(h)))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.layers = nn.Embedding(V, H), nn.ModuleList(Layer() for _ in range(L))
        self.norm, self.head = nn.Parameter(torch.ones(H)), nn.Linear(H, V, bias=False)

    def forward(self, ids, targets, c, s):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, c, s)
        return F.cross_entropy(self.head(F.rms_norm(x, (H,), self.norm, 1e-5)).float().view(-1, V), targets.view(-1))


with torch.device("cuda"):
    model = Model().to(dtype)
for parameter in model.parameters():
    if parameter.dim() >= 2:
        nn.init.normal_(parameter, std=0.02)
tokens = torch.randint(0, V, (a.batch, a.seq + 1), device="cuda")
ids, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
inverse = 1.0 / THETA ** (torch.arange(0, D, 2, dtype=torch.float64) / D)
angles = torch.arange(a.seq).float()[:, None] * inverse.float()[None]
angles = torch.cat((angles, angles), -1).cuda()
c, s = angles.cos().to(dtype), angles.sin().to(dtype)
if a.fused:
    def hook(parameter):
        with torch.no_grad():
            parameter.add_(parameter.grad, alpha=-0.01)
        parameter.grad = None

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(hook)
else:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
run = torch.compile(model) if a.compile else model
times = []
for step in range(a.steps):
    if step == 3:
        torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    began = time.perf_counter()
    loss = run(ids, targets, c, s)
    loss.backward()
    if not a.fused:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    loss = loss.item()
    torch.cuda.synchronize()
    times.append((time.perf_counter() - began) * 1e3)
later = sorted(times[3:])
print(json.dumps(dict(torch=torch.__version__, compiled=a.compile, fused=a.fused, grouped_mm=a.grouped_mm, config=a.config, dtype=a.dtype, batch=a.batch, seq=a.seq,
                      parameters=sum(q.numel() for q in model.parameters()), loss=round(loss, 4), median_ms=round(later[len(later) // 2], 1),
                      peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2))))
