"""Every kernel against torch, and the time of the large ones next to torch's own.

    nvcc -std=c++17 -O3 -ptx -arch=compute_80 crate/src/ops/cuda/kernels/rows.cu -o rows.ptx     (and flash.cu, grouped.cu, delta.cu, router.cu)
    python3 tests/gpu/kernels.py FOLDER_WITH_THE_PTX

Needs a GPU, its driver and torch. Exits 1 if anything differs.
"""
import ctypes, math, sys
import torch
import torch.nn.functional as F

torch.manual_seed(1)
dev = "cuda"
torch.zeros(1, device=dev)
driver = ctypes.CDLL("libcuda.so.1")
SUFFIX = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
failed = []


def check(code):
    if code != 0:
        name = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(name))
        raise RuntimeError(f"driver: {name.value}")


class Module:
    def __init__(self, path):
        self.handle, self.functions = ctypes.c_void_p(), {}
        check(driver.cuModuleLoadData(ctypes.byref(self.handle), open(path, "rb").read() + b"\0"))

    def launch(self, name, grid, block, *args, shared=0):
        if name not in self.functions:
            self.functions[name] = function = ctypes.c_void_p()
            check(driver.cuModuleGetFunction(ctypes.byref(function), self.handle, name.encode()))
        function = self.functions[name]
        if shared > 40 << 10:
            check(driver.cuFuncSetAttribute(function, 8, shared))
        held = []
        for a in args:
            if a is None:
                a = ctypes.c_uint64(0)
            elif isinstance(a, torch.Tensor):
                a = ctypes.c_uint64(a.data_ptr())
            elif isinstance(a, float):
                a = ctypes.c_float(a)
            elif isinstance(a, int):
                a = ctypes.c_int(a)
            held.append(a)
        pointers = (ctypes.c_void_p * len(held))(*[ctypes.addressof(a) for a in held])
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        check(driver.cuLaunchKernel(function, *(list(grid) + [1, 1])[:3], *(list(block) + [1, 1])[:3], shared, stream, pointers, None))


long = ctypes.c_long
folder = sys.argv[1]
rows, flash, grouped, delta, router = (Module(f"{folder}/{name}.ptx") for name in ("rows", "flash", "grouped", "delta", "router"))


def close(what, got, want, dtype, factor=1.0):
    """Largest difference relative to the largest value."""
    got, want = got.float(), want.float()
    tolerance = {torch.float32: 3e-6, torch.bfloat16: 1.2e-2, torch.float16: 2e-3}[dtype] * factor
    error = ((got - want).abs().max() / want.abs().max().clamp_min(1e-20)).item()
    good = error <= tolerance and bool(torch.isfinite(got).all())
    print(f"{'ok  ' if good else 'BAD '} {what:58} {error:.1e} of {tolerance:.1e}")
    if not good:
        failed.append(what)


def threads(width):
    return min(1024, max(32, (width + 255) // 256 * 32))


def rand(*shape, dtype=torch.float32, scale=1.0):
    return (torch.randn(*shape, device=dev) * scale).to(dtype)


def norms(dtype):
    s = SUFFIX[dtype]
    for n, h in [(7, 64), (300, 2048), (65, 333), (4096, 1000), (33, 8192), (5, 100)]:
        x, w, b, g = rand(n, h, dtype=dtype), rand(h, dtype=dtype), rand(h, dtype=dtype), rand(n, h, dtype=dtype)
        X, W, B, G = (t.double().requires_grad_() for t in (x, w, b, g))
        y, dx = torch.empty_like(x), torch.empty_like(x)
        blocks = min(n, 264)
        want = X / (X.square().mean(-1, keepdim=True) + 1e-5).sqrt() * W
        want.backward(G)
        rows.launch(f"rms_norm_{s}", [n], [threads(h)], y, x, w, h, 1e-5)
        close(f"rms_norm {s} {n}x{h}", y, want, dtype)
        partial, dw = torch.empty(blocks, h, device=dev), torch.empty_like(w)
        rows.launch(f"rms_norm_backward_{s}", [blocks], [threads(h)], dx, partial, x, w, g, long(n), h, 1e-5, shared=4 * h)
        rows.launch(f"partial_sums_{s}", [(h + 31) // 32], [32, 32], dw, partial, long(blocks), h)
        close(f"rms_norm dx {s} {n}x{h}", dx, X.grad, dtype)
        close(f"rms_norm dw {s} {n}x{h}", dw, W.grad, dtype)
        X.grad = W.grad = None
        want = F.layer_norm(X, (h,), W, B, 1e-5)
        want.backward(G)
        rows.launch(f"layer_norm_{s}", [n], [threads(h)], y, x, w, b, h, 1e-5)
        close(f"layer_norm {s} {n}x{h}", y, want, dtype)
        partial, both = torch.empty(blocks, 2 * h, device=dev), torch.empty(2 * h, device=dev, dtype=dtype)
        rows.launch(f"layer_norm_backward_{s}", [blocks], [threads(h)], dx, partial, x, w, g, long(n), h, 1e-5, shared=8 * h)
        rows.launch(f"partial_sums_{s}", [(2 * h + 31) // 32], [32, 32], both, partial, long(blocks), 2 * h)
        close(f"layer_norm dx {s} {n}x{h}", dx, X.grad, dtype)
        close(f"layer_norm dw {s} {n}x{h}", both[:h], W.grad, dtype)
        close(f"layer_norm db {s} {n}x{h}", both[h:], B.grad, dtype)
        sums = torch.empty(h, device=dev, dtype=dtype)
        rows.launch(f"column_sums_{s}", [(h + 31) // 32], [32, 32], sums, x, long(n), h)
        close(f"column_sums {s} {n}x{h}", sums, x.double().sum(0), dtype)
        biased = x.clone()
        rows.launch(f"add_bias_{s}", [n], [threads(h)], biased, b, h)
        close(f"add_bias {s} {n}x{h}", biased, x.double() + b.double(), dtype)


def elements(dtype):
    s = SUFFIX[dtype]
    kinds = [F.silu, F.relu, F.gelu, lambda x: F.gelu(x, approximate="tanh")]
    for n in [5, 4096, 1_000_003]:
        gate, up, g = rand(n, dtype=dtype), rand(n, dtype=dtype), rand(n, dtype=dtype)
        for kind, f in enumerate(kinds):
            A, B = gate.double().requires_grad_(), up.double().requires_grad_()
            want = f(A) * B
            want.backward(g.double())
            y, d = torch.empty_like(gate), torch.empty(2, n, device=dev, dtype=dtype)
            rows.launch(f"gated_{s}", [64], [256], y, gate, up, long(n), kind)
            rows.launch(f"gated_backward_{s}", [64], [256], d, gate, up, g, long(n), kind)
            close(f"gated {kind} {s} {n}", y, want, dtype)
            close(f"gated dgate {kind} {s} {n}", d[0], A.grad, dtype)
            close(f"gated dup {kind} {s} {n}", d[1], B.grad, dtype)
        w = rand(n, dtype=dtype)
        want = w.double() - 0.3 * g.double()
        rows.launch(f"sgd_{s}", [64], [256], w, g, long(n), 0.3)
        close(f"sgd {s} {n}", w, want, dtype)
    for b, h, t, d, tables in [(2, 3, 17, 64, 1), (2, 4, 9, 10, 2)]:
        x = rand(b, h, t, d, dtype=dtype)
        angle = torch.rand(tables, t, d // 2, device=dev) * 6
        c, si = angle.cos(), angle.sin()
        x1, x2 = x.double().chunk(2, -1)
        C, S = c.double()[:, None], si.double()[:, None]
        want = torch.cat((x1 * C - x2 * S, x2 * C + x1 * S), -1)
        y = torch.empty_like(x)
        rows.launch(f"rotate_{s}", [8], [256], y, x, c, si, long(x.numel() // 2), h, t, d // 2, 0, tables, 1.0)
        close(f"rotate {s} heads first", y, want, dtype)
        back = torch.empty_like(x)
        rows.launch(f"rotate_{s}", [8], [256], back, y, c, si, long(x.numel() // 2), h, t, d // 2, 0, tables, -1.0)
        close(f"rotate back {s}", back, x, dtype, 2)
        xt, yt = x.transpose(1, 2).contiguous(), torch.empty(b, t, h, d, device=dev, dtype=dtype)
        rows.launch(f"rotate_{s}", [8], [256], yt, xt, c, si, long(x.numel() // 2), t, h, d // 2, 1, tables, 1.0)
        close(f"rotate {s} tokens first", yt.transpose(1, 2), want, dtype)
        rows.launch(f"exchange_{s}", [8], [256], yt, x, long(x.numel()), h, t, d)
        close(f"exchange {s}", yt, x.transpose(1, 2), dtype, 0)


def tables(dtype):
    s = SUFFIX[dtype]
    for v, h, n in [(50, 33, 400), (3000, 512, 5000), (7, 64, 6000)]:
        table, g = rand(v, h, dtype=dtype), rand(n, h, dtype=dtype)
        ids = torch.randint(0, v, (n,), device=dev, dtype=torch.int32)
        y, d = torch.empty(n, h, device=dev, dtype=dtype), torch.empty_like(table)
        rows.launch(f"embedding_{s}", [n], [threads(h)], y, table, ids, h, v)
        close(f"embedding {s} {v}x{h}", y, table[ids.long()], dtype)
        head, nxt = torch.full((v,), -1, device=dev, dtype=torch.int32), torch.empty(n, device=dev, dtype=torch.int32)
        rows.launch("embedding_lists", [(n + 255) // 256], [256], head, nxt, ids, n, v)
        rows.launch(f"embedding_backward_{s}", [v], [threads(h)], d, g, head, nxt, h)
        close(f"embedding dtable {s} {v}x{h}", d, torch.zeros(v, h, device=dev, dtype=torch.double).index_add(0, ids.long(), g.double()), dtype)
        again = torch.empty_like(d)
        head.fill_(-1)
        rows.launch("embedding_lists", [(n + 255) // 256], [256], head, nxt, ids, n, v)
        rows.launch(f"embedding_backward_{s}", [v], [threads(h)], again, g, head, nxt, h)
        if n // v < 2000:
            close(f"embedding dtable twice {s} {v}x{h}", again, d, torch.float32, 0)
    for n, v in [(5, 11), (300, 32000), (64, 128256)]:
        logits = rand(n, v, dtype=dtype, scale=3)
        targets = torch.randint(0, v, (n,), device=dev, dtype=torch.int32)
        L = logits.double().requires_grad_()
        want = F.cross_entropy(L, targets.long(), reduction="none")
        want.mean().backward()
        losses = torch.empty(n, device=dev)
        rows.launch(f"cross_entropy_{s}", [n], [min(1024, threads(v))], logits, losses, targets, v, 1.0 / n)
        close(f"cross_entropy {s} {n}x{v}", losses, want, torch.float32, 3)
        close(f"cross_entropy gradient {s} {n}x{v}", logits, L.grad, dtype, 3)


class Visible(ctypes.Structure):
    _fields_ = [("padded", ctypes.c_uint64), ("documents", ctypes.c_uint64), ("seen", ctypes.c_int), ("window", ctypes.c_int), ("causal", ctypes.c_int)]


class Flash(ctypes.Structure):
    _fields_ = (
        [(f"{t}_{n}", ctypes.c_long) for t in "qkvg" for n in ("batch", "head", "row")]
        + [(n, ctypes.c_uint64) for n in ("padded", "documents", "slopes", "sinks")]
        + [(n, ctypes.c_int) for n in ("heads", "kv_heads", "queries", "keys", "seen", "window", "causal")]
        + [("scale", ctypes.c_float), ("cap", ctypes.c_float)]
    )


def reference(q, k, v, g, seen, window, causal, padded, documents, slopes, sinks, cap):
    """In float64: output and gradients; rows that see nothing give `hidden` True."""
    b, h, s, d = q.shape
    t = k.shape[2]
    Q, K, V = (x.double().requires_grad_() for x in (q, k, v))
    A = slopes.double().requires_grad_() if slopes is not None else None
    Z = sinks.double().requires_grad_() if sinks is not None else None
    group = h // k.shape[1]
    scores = Q @ K.repeat_interleave(group, 1).transpose(2, 3) / math.sqrt(d)
    if cap:
        scores = cap * torch.tanh(scores / cap)
    qi, ki = torch.arange(s, device=dev)[:, None] + seen, torch.arange(t, device=dev)[None]
    if A is not None:
        scores = scores + A[:, None, None] * (ki - qi)
    see = torch.ones(b, 1, s, t, dtype=torch.bool, device=dev)
    if causal:
        see = see & (ki <= qi)
    if window:
        see = see & (ki > qi - window)
    if padded is not None:
        see = see & ~padded.bool()[:, None, None, :]
    if documents is not None:
        see = see & (documents[:, None, seen : seen + s, None] == documents[:, None, None, :])
    scores = scores.masked_fill(~see, -1e30)
    if Z is not None:
        scores = torch.cat((scores, Z[:, None, None].expand(b, h, s, 1)), -1)
    P = torch.softmax(scores, -1)[..., :t]
    hidden = ~see.any(-1, keepdim=True)
    out = (P @ V.repeat_interleave(group, 1)).masked_fill(hidden, 0)
    out.backward(g.double())
    return out, Q.grad, K.grad, V.grad, (A.grad if A is not None else None), (Z.grad if Z is not None else None), P.detach(), see


SIZES = {64: dict(FM=2, FN=64, QM=2, QN=32, KM=1, KN=64), 128: dict(FM=1, FN=64, QM=1, QN=32, KM=1, KN=32)}


def flash_arguments(q, k, v, g, seen, window, causal, padded, documents, slopes, sinks=None, cap=0.0):
    f = Flash()
    for name, x in zip("qkvg", (q, k, v, g)):
        for i, part in enumerate(("batch", "head", "row")):
            setattr(f, f"{name}_{part}", x.stride(i))
    f.padded, f.documents, f.slopes, f.sinks = (0 if x is None else x.data_ptr() for x in (padded, documents, slopes, sinks))
    f.heads, f.kv_heads, f.queries, f.keys = q.shape[1], k.shape[1], q.shape[2], k.shape[2]
    f.seen, f.window, f.causal, f.scale, f.cap = seen, window, int(causal), 1 / math.sqrt(q.shape[3]), cap
    return f


def flash_forward(f, q, k, v, o, lse):
    d, z = q.shape[3], SIZES[q.shape[3]]
    tile = 64 * z["FM"]
    shared = 2 * d * (tile + 4 * z["FN"])
    flash.launch(f"flash_forward_{d}_{SUFFIX[q.dtype]}", [(q.shape[2] + tile - 1) // tile, q.shape[1], q.shape[0]], [128], o, lse, q, k, v, f, shared=shared)


def flash_backward(f, q, k, v, o, g, lse, delta, dq, dk, dv, of_slopes):
    (b, h, s, d), z, name = q.shape, SIZES[q.shape[3]], SUFFIX[q.dtype]
    flash.launch(f"flash_output_dot_{name}", [(b * h * s + 7) // 8], [256], delta, o, g, f, d, long(b * h * s))
    tile = 64 * z["QM"]
    flash.launch(f"flash_backward_queries_{d}_{name}", [(s + tile - 1) // tile, h, b], [128], dq, of_slopes, q, k, v, g, lse, delta, f, shared=2 * d * (2 * tile + 4 * z["QN"]))
    tile = 64 * z["KM"]
    flash.launch(f"flash_backward_keys_{d}_{name}", [(k.shape[2] + tile - 1) // tile, k.shape[1], b], [128], dk, dv, q, k, v, g, lse, delta, f, shared=2 * d * (2 * tile + 4 * z["KN"]) + 16 * z["KN"])


def attention_case(what, dtype, b, h, kv, s, t, d, window=0, causal=True, padding=False, packed=False, alibi=False, sink=False, cap=0.0, swapped=True):
    make = (lambda n, l: rand(b, l, n, d, dtype=dtype).transpose(1, 2)) if swapped else (lambda n, l: rand(b, n, l, d, dtype=dtype))
    q, k, v, g = make(h, s), make(kv, t), make(kv, t), make(h, s)
    seen = t - s
    padded = torch.zeros(b, t, dtype=torch.uint8, device=dev) if padding else None
    if padding:
        padded[0, : t // 3] = 1
        padded[-1, t - 5 :] = 1
    documents = torch.cumsum((torch.rand(b, t, device=dev) < 0.02).int(), 1).int() if packed else None
    slopes = torch.rand(h, device=dev) * 0.1 if alibi else None
    sinks = rand(h) if sink else None
    out, dQ, dK, dV, dA, dZ, P, see = reference(q, k, v, g, seen, window, causal, padded, documents, slopes, sinks, cap)
    s_ = SUFFIX[dtype]
    if dtype != torch.float32 and d in SIZES:
        lse, delta = torch.empty(b, h, s, device=dev), torch.empty(b, h, s, device=dev)
        o, dq, dk, dv = (torch.full(x.shape, math.nan, device=dev, dtype=dtype) for x in (q, q, k, v))
        blocks = (s + 64 * SIZES[d]["QM"] - 1) // (64 * SIZES[d]["QM"])
        of_slopes = torch.empty(b, h, blocks, device=dev) if alibi else None
        f = flash_arguments(q, k, v, g, seen, window, causal, padded, documents, slopes, sinks, cap)
        flash_forward(f, q, k, v, o, lse)
        flash_backward(f, q, k, v, o, g, lse, delta, dq, dk, dv, of_slopes)
        torch.cuda.synchronize()
        for name, got, want in [("o", o, out), ("dq", dq, dQ), ("dk", dk, dK), ("dv", dv, dV)]:
            close(f"flash {name} {s_} {what}", got, want, dtype)
        if alibi:
            close(f"flash dslopes {s_} {what}", of_slopes.sum((0, 2)), dA, dtype)
        if sink:
            share = torch.exp2(sinks[:, None] * math.log2(math.e) - lse)
            close(f"flash dsinks {s_} {what}", -(share * delta).sum((0, 2)), dZ, dtype)
    # whole rows of scores, in blocks of queries
    first, n = s // 3, s - s // 3
    scores = (q.float()[:, :, first:] @ k.float().repeat_interleave(h // kv, 1).transpose(2, 3)).to(dtype).contiguous()
    m = Visible(*(0 if x is None else x.data_ptr() for x in (padded, documents)), seen, window, int(causal))
    shares, factors = (torch.empty(b, h, n, device=dev) if sink else None), (torch.empty_like(scores) if cap else None)
    slope = 1 - torch.tanh(scores.double() / math.sqrt(d) / cap) ** 2 if cap else 1
    rows.launch(f"masked_softmax_{s_}", [b * h * n], [threads(t)], scores, slopes, sinks, shares, factors, m, h, n, first, t, 1 / math.sqrt(d), cap)
    P = P[:, :, first:]
    close(f"masked_softmax {s_} {what}", scores, P, dtype, 3)
    dp = rand(b, h, n, t, dtype=dtype)
    p = P.to(dtype).contiguous()
    want = p.double() * (dp.double() - (p.double() * dp.double()).sum(-1, keepdim=True))
    distance = torch.arange(t, device=dev)[None] - torch.arange(first, s, device=dev)[:, None] - seen
    of_slopes, of_sinks = torch.empty(b, h, n, device=dev), (torch.empty(b, h, n, device=dev) if sink else None)
    level = (p.double() * dp.double()).sum(-1)
    rows.launch(f"masked_softmax_backward_{s_}", [b * h * n], [threads(t)], dp, p, factors, shares, of_slopes, of_sinks, n, first + seen, t, 1 / math.sqrt(d))
    close(f"masked_softmax backward {s_} {what}", dp, want * slope / math.sqrt(d), dtype)
    if sink:
        close(f"masked_softmax shares {s_} {what}", shares, 1 - P.sum(-1), dtype)
        close(f"masked_softmax dsinks {s_} {what}", of_sinks, -shares * level, torch.float32, 30)
    close(f"masked_softmax dslopes {s_} {what}", of_slopes, (want * distance).sum(-1), torch.float32, 300)


def attention(dtype):
    for d in (64, 128, 40):
        attention_case(f"causal d{d}", dtype, 2, 4, 2, 200, 200, d)
        attention_case(f"one head each d{d}", dtype, 1, 3, 3, 256, 256, d, swapped=False)
        attention_case(f"all keys d{d}", dtype, 2, 2, 1, 100, 170, d, causal=False)
        attention_case(f"seen d{d}", dtype, 2, 4, 1, 77, 333, d)
        attention_case(f"one query d{d}", dtype, 2, 4, 2, 1, 129, d)
        attention_case(f"window d{d}", dtype, 2, 4, 2, 300, 340, d, window=70)
        attention_case(f"padding d{d}", dtype, 2, 4, 2, 150, 150, d, padding=True)
        attention_case(f"packed window d{d}", dtype, 2, 4, 2, 260, 260, d, packed=True, window=90)
        attention_case(f"alibi d{d}", dtype, 2, 4, 2, 190, 190, d, alibi=True)
        attention_case(f"sinks d{d}", dtype, 2, 4, 2, 190, 220, d, sink=True)
        attention_case(f"sinks window d{d}", dtype, 2, 4, 2, 300, 300, d, sink=True, window=70)
        attention_case(f"cap d{d}", dtype, 2, 4, 2, 190, 220, d, cap=1.5)
        attention_case(f"sinks cap padding d{d}", dtype, 2, 4, 2, 150, 150, d, sink=True, cap=5.0, padding=True)


def groups_of(dtype, sizes, parts, outputs, inputs):
    rows_ = sum(sizes)
    x, g = rand(rows_, inputs, dtype=dtype), rand(parts, rows_, outputs, dtype=dtype)
    matrices = [[rand(outputs, inputs, dtype=dtype, scale=inputs**-0.5) for _ in range(parts)] for _ in sizes]
    gradients = [[torch.full((outputs, inputs), math.nan, device=dev, dtype=dtype) for _ in range(parts)] for _ in sizes]
    address = lambda table: torch.tensor([m.data_ptr() for group in table for m in group], device=dev)
    tiles, spans, first = [], [], 0
    for i, size in enumerate(sizes):
        spans.append([first, size])
        tiles += [[i, first + start, min(128, size - start)] for start in range(0, size, 128)]
        first += size
    return x, g, matrices, gradients, address(matrices), address(gradients), torch.tensor(tiles, device=dev), torch.tensor(spans, device=dev)


SHARED = 3 * 2 * 128 * 64 * 2


def grouped_launches(dtype, data, y, dx):
    x, g, matrices, gradients, table, to, tiles, spans = data
    parts, n, outputs = g.shape
    inputs, s = x.shape[1], SUFFIX[dtype]
    wide, deep = (outputs + 127) // 128, (inputs + 127) // 128
    return (
        lambda: grouped.launch(f"grouped_{s}", [parts * wide, len(tiles)], [128], y, x, table, tiles, parts, long(n), outputs, inputs, shared=SHARED),
        lambda: grouped.launch(f"grouped_backward_rows_{s}", [deep, len(tiles)], [128], dx, g, table, tiles, parts, long(n), outputs, inputs, shared=SHARED),
        lambda: grouped.launch(f"grouped_backward_matrices_{s}", [deep, parts * wide, len(spans)], [128], to, g, x, spans, parts, long(n), outputs, inputs, shared=SHARED),
    )


def groups(dtype):
    s = SUFFIX[dtype]
    for sizes, parts, outputs, inputs in [([3], 1, 8, 16), ([1, 200, 64, 5], 2, 72, 136), ([130, 1, 257], 1, 256, 64), ([300, 500], 2, 1408, 1024)]:
        data = groups_of(dtype, sizes, parts, outputs, inputs)
        x, g, matrices, gradients = data[:4]
        y, dx = torch.full_like(g, math.nan), torch.full_like(x, math.nan)
        for launch in grouped_launches(dtype, data, y, dx):
            launch()
        what, first = f"{s} {sizes} {parts}x{outputs}x{inputs}", 0
        wanted_y, wanted_dx = torch.zeros_like(y), torch.zeros_like(dx)
        for i, size in enumerate(sizes):
            at = slice(first, first + size)
            first += size
            wanted_y[:, at] = torch.stack([x[at].double() @ m.double().T for m in matrices[i]]).to(dtype)
            wanted_dx[at] = sum(g[p, at].double() @ m.double() for p, m in enumerate(matrices[i])).to(dtype)
            for p in range(parts):
                close(f"grouped dW {what} {i} {p}", gradients[i][p], g[p, at].double().T @ x[at].double(), dtype)
        close(f"grouped y {what}", y, wanted_y, dtype)
        close(f"grouped dx {what}", dx, wanted_dx, dtype)


def combined(dtype):
    s = SUFFIX[dtype]
    for tokens, active, width in [(5, 1, 7), (33, 2, 64), (300, 4, 1000)]:
        x, w, g = rand(tokens * active, width, dtype=dtype), rand(tokens, active, dtype=dtype), rand(tokens, width, dtype=dtype)
        slots = torch.randperm(tokens * active, device=dev).int()
        y, dx, dw = torch.empty_like(g), torch.empty_like(x), torch.empty_like(w)
        rows.launch(f"combine_{s}", [tokens], [threads(width)], y, x, slots, w, active, width)
        rows.launch(f"combine_backward_{s}", [tokens], [threads(width)], dx, dw, x, slots, w, g, active, width)
        X, W = x.double().requires_grad_(), w.double().requires_grad_()
        want = (X[slots.long()].view(tokens, active, width) * W[..., None]).sum(1)
        want.backward(g.double())
        for name, got, wanted in [("y", y, want), ("dx", dx, X.grad), ("dw", dw, W.grad)]:
            close(f"combine {name} {s} {tokens}x{active}x{width}", got, wanted, dtype)


def linear_attention(dtype):
    s = SUFFIX[dtype]
    for count, n in [(3, 1), (5, 7), (20, 64)]:
        a = rand(count, n, n, dtype=dtype, scale=0.2)
        y = torch.empty_like(a)
        delta.launch(f"delta_inverse_{s}", [count], [64], y, a, n, shared=8 * n * n)
        eye = torch.eye(n, device=dev, dtype=torch.double)
        close(f"inverse {s} {n}", y, torch.linalg.inv(eye + a.double().tril(-1)), dtype)
        delta.launch(f"delta_negated_below_{s}", [64], [256], y, a, long(a.numel()), n)
        close(f"negated_below {s} {n}", y, -a.double().tril(-1), dtype)
    for b, t, c, taps in [(2, 9, 6, 4), (3, 70, 100, 3), (1, 5, 33, 8)]:
        x, w, g = rand(b, t + taps - 1, c, dtype=dtype), rand(c, taps, dtype=dtype), rand(b, t, c, dtype=dtype)
        y, dx, dw, partial = torch.empty_like(g), torch.empty_like(x), torch.empty_like(w), torch.empty(3, c * taps, device=dev)
        X, W = x.double().requires_grad_(), w.double().requires_grad_()
        want = F.conv1d(X.transpose(1, 2), W[:, None], groups=c).transpose(1, 2)
        want.backward(g.double())
        delta.launch(f"delta_convolution_{s}", [8], [256], y, x, w, long(y.numel()), t, c, taps)
        delta.launch(f"delta_convolution_backward_{s}", [8], [256], dx, g, w, long(dx.numel()), t, c, taps)
        delta.launch(f"delta_convolution_weights_{s}", [(c + 31) // 32, 3], [32, 8], partial, x, g, long(b * t), t, c, taps)
        rows.launch(f"partial_sums_{s}", [(c * taps + 31) // 32], [32, 32], dw, partial, long(3), c * taps)
        for name, got, wanted in [("y", y, want), ("dx", dx, X.grad), ("dw", dw, W.grad)]:
            close(f"convolution {name} {s} {b}x{t}x{c}x{taps}", got, wanted, dtype)


def routes():
    for tokens, experts, active in [(5, 4, 2), (100, 40, 4), (33, 256, 8), (9, 3, 3)]:
        for kind in (0, 1, 2):
            for normalized in (0, 1):
                logits, correction, g = rand(tokens, experts), rand(experts, scale=0.1), rand(tokens, active)
                L = logits.double().requires_grad_()
                score = [lambda: L.softmax(-1), lambda: L.sigmoid(), lambda: L][kind]()
                want = (score + correction.double()).topk(active, -1).indices
                weights = score.gather(1, want)
                weights = weights.softmax(-1) if kind == 2 else weights
                weights = 1.7 * (weights / weights.sum(-1, keepdim=True) if normalized else weights)
                weights.backward(g.double())
                chosen, w, d = torch.empty(tokens, active, device=dev, dtype=torch.int32), torch.empty_like(g), torch.empty_like(logits)
                settings = (long(tokens), experts, active, kind, normalized, 1.7)
                router.launch("router_choose", [(tokens + 7) // 8], [256], chosen, w, logits, correction, *settings)
                router.launch("router_backward", [(tokens + 7) // 8], [256], d, logits, chosen, g, *settings)
                what = f"{tokens}x{experts}/{active} kind {kind} normalized {normalized}"
                close(f"router experts {what}", chosen, want, torch.float32, 0)
                close(f"router weights {what}", w, weights, torch.float32)
                close(f"router dlogits {what}", d, L.grad, torch.float32, 3)
    nan = torch.tensor([[math.nan, 1.0, math.nan, 1.0]], device=dev)
    chosen, w = torch.empty(1, 3, device=dev, dtype=torch.int32), torch.empty(1, 3, device=dev)
    router.launch("router_choose", [1], [256], chosen, w, nan, None, long(1), 4, 3, 1, 0, 1.0)
    close("router experts with NaN and ties", chosen, torch.tensor([[1, 3, 0]], device=dev), torch.float32, 0)


def milliseconds(work, repeat=20):
    for _ in range(3):
        work()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeat):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / repeat


def times():
    print("\ntimes, bf16, ms: ours | torch")
    dtype = torch.bfloat16
    for b, h, kv, s, d in [(4, 32, 8, 2048, 64), (2, 32, 8, 512, 64), (4, 16, 8, 2048, 128)]:
        make = lambda n: rand(b, s, n, d, dtype=dtype).transpose(1, 2)
        q, k, v, g = make(h), make(kv), make(kv), make(h)
        lse, delta = torch.empty(b, h, s, device=dev), torch.empty(b, h, s, device=dev)
        o, dq, dk, dv = (torch.empty(x.shape, device=dev, dtype=dtype) for x in (q, q, k, v))
        f = flash_arguments(q, k, v, g, 0, 0, True, None, None, None)
        ours = milliseconds(lambda: flash_forward(f, q, k, v, o, lse)), milliseconds(lambda: flash_backward(f, q, k, v, o, g, lse, delta, dq, dk, dv, None))
        Q, K, V = (x.detach().requires_grad_() for x in (q, k, v))
        y = F.scaled_dot_product_attention(Q, K, V, is_causal=True, enable_gqa=True)
        forward = milliseconds(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True))
        backward = milliseconds(lambda: torch.autograd.grad(y, (Q, K, V), g, retain_graph=True))
        flop = 2 * b * h * s * s * d
        print(f"attention {b}x{h}/{kv}x{s}x{d}: forward {ours[0]:.3f} ({flop / ours[0] / 1e9:.0f} TFLOP/s) | {forward:.3f}, backward {ours[1]:.3f} ({2.5 * flop / ours[1] / 1e9:.0f} TFLOP/s) | {backward:.3f}")
        for name, more in [("sinks", dict(sinks=rand(h))), ("cap", dict(cap=50.0))]:
            f = flash_arguments(q, k, v, g, 0, 0, True, None, None, None, **more)
            print(f"  with {name}: forward {milliseconds(lambda: flash_forward(f, q, k, v, o, lse)):.3f}, backward {milliseconds(lambda: flash_backward(f, q, k, v, o, g, lse, delta, dq, dk, dv, None)):.3f}")
    for sizes, parts, outputs, inputs in [([512] * 16, 2, 1408, 1024), ([512] * 16, 1, 1024, 1408), ([1024] * 8, 2, 14336, 4096)]:
        data = groups_of(dtype, sizes, parts, outputs, inputs)
        x, g, matrices = data[:3]
        y, dx = torch.empty_like(g), torch.empty_like(x)
        ours = [milliseconds(launch) for launch in grouped_launches(dtype, data, y, dx)]
        xs, gs = x.split(sizes), g.split(sizes, 1)
        theirs = [
            milliseconds(lambda: [xs[i] @ m.T for i, group in enumerate(matrices) for m in group]),
            milliseconds(lambda: [gs[i][p] @ m for i, group in enumerate(matrices) for p, m in enumerate(group)]),
            milliseconds(lambda: [gs[i][p].T @ xs[i] for i, group in enumerate(matrices) for p in range(parts)]),
        ]
        flop = 2 * sum(sizes) * parts * outputs * inputs
        print(f"grouped {len(sizes)} of {sizes[0]} rows, {parts} x {outputs} x {inputs}: ours | a product each, y, dx, dW: " + ", ".join(f"{a:.3f} ({flop / a / 1e9:.0f} TFLOP/s) | {b:.3f}" for a, b in zip(ours, theirs)))
    n, h = 8192, 2048
    x, w, g = rand(n, h, dtype=dtype), rand(h, dtype=dtype), rand(n, h, dtype=dtype)
    y, dx, partial, dw = torch.empty_like(x), torch.empty_like(x), torch.empty(264, h, device=dev), torch.empty_like(w)
    X, W = x.clone().requires_grad_(), w.clone().requires_grad_()
    Y = F.rms_norm(X, (h,), W, 1e-5)
    forward = milliseconds(lambda: rows.launch("rms_norm_bf16", [n], [threads(h)], y, x, w, h, 1e-5))
    def back():
        rows.launch("rms_norm_backward_bf16", [264], [threads(h)], dx, partial, x, w, g, long(n), h, 1e-5, shared=4 * h)
        rows.launch("partial_sums_bf16", [h // 32], [32, 32], dw, partial, long(264), h)
    print(f"rms_norm {n}x{h}: forward {forward:.4f} | {milliseconds(lambda: F.rms_norm(x, (h,), w, 1e-5)):.4f}, backward {milliseconds(back):.4f} | {milliseconds(lambda: torch.autograd.grad(Y, (X, W), g, retain_graph=True)):.4f}")
    n = 8192 * 8192
    a, b, g, y, d = (rand(8192, 8192, dtype=dtype) for _ in range(5))
    d = torch.empty(2, n, device=dev, dtype=dtype)
    print(f"gated 67M: forward {milliseconds(lambda: rows.launch('gated_bf16', [2112], [256], y, a, b, long(n), 0)):.4f} | {milliseconds(lambda: F.silu(a) * b):.4f}, backward {milliseconds(lambda: rows.launch('gated_backward_bf16', [2112], [256], d, a, b, g, long(n), 0)):.4f}")
    n, v = 2048, 128256
    logits, losses, targets = rand(n, v, dtype=dtype), torch.empty(n, device=dev), torch.randint(0, v, (n,), device=dev, dtype=torch.int32)
    print(f"cross_entropy {n}x{v}, loss and gradient: {milliseconds(lambda: rows.launch('cross_entropy_bf16', [n], [1024], logits, losses, targets, v, 1e-3)):.4f} | forward alone {milliseconds(lambda: F.cross_entropy(logits.float(), targets.long())):.4f}")
    x, c = rand(4, 2048, 32, 64, dtype=dtype), rand(1, 2048, 32)
    y = torch.empty_like(x)
    print(f"rotate 16.8M: {milliseconds(lambda: rows.launch('rotate_bf16', [2112], [256], y, x, c, c, long(x.numel() // 2), 2048, 32, 32, 1, 1, 1.0)):.4f}")
    v, h, n = 128256, 2048, 8192
    g, d, head, nxt = rand(n, h, dtype=dtype), torch.empty(v, h, device=dev, dtype=dtype), torch.empty(v, device=dev, dtype=torch.int32), torch.empty(n, device=dev, dtype=torch.int32)
    ids = torch.randint(0, v, (n,), device=dev, dtype=torch.int32)
    def table():
        head.fill_(-1)
        rows.launch("embedding_lists", [n // 256], [256], head, nxt, ids, n, v)
        rows.launch("embedding_backward_bf16", [v], [threads(h)], d, g, head, nxt, h)
    w = rand(v, h, dtype=dtype)
    print(f"embedding gradient {v}x{h}: {milliseconds(table):.4f}; sgd of it: {milliseconds(lambda: rows.launch('sgd_bf16', [2112], [256], w, d, long(v * h), 0.1)):.4f} | {milliseconds(lambda: w.add_(d, alpha=-0.1)):.4f}")


print(torch.cuda.get_device_name(), "torch", torch.__version__)
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    norms(dtype)
    elements(dtype)
    tables(dtype)
    attention(dtype)
    combined(dtype)
    linear_attention(dtype)
    if dtype != torch.float32:
        groups(dtype)
routes()
times()
print(f"\n{len(failed)} failed" + "".join(f"\n  {name}" for name in failed))
sys.exit(bool(failed))
