"""PyTorch, as a peer: the protocol is in serve.ts. Eager; `way` is "manual" or "fused" attention."""
import json, math, struct, sys, time
import torch
import torch.nn.functional as F

STEPS = 5


def tensors(path):
    with open(path, "rb") as f:
        data = bytearray(f.read())
    (size,) = struct.unpack("<Q", data[:8])
    head, base = json.loads(data[8:8 + size]), 8 + size
    types = {"F32": torch.float32, "I32": torch.int32}
    return {n: torch.frombuffer(data, dtype=types[h["dtype"]], count=(h["data_offsets"][1] - h["data_offsets"][0]) // 4, offset=base + h["data_offsets"][0]).clone().view(h["shape"])
            for n, h in head.items() if n != "__metadata__"}


class CoPE(torch.nn.Module):
    """The listing in the paper's appendix (Golovneva et al. 2024): one table a layer, shared by the heads."""

    def __init__(self, table):
        super().__init__()
        self.npos_max = table.shape[0]
        self.pos_emb = torch.nn.Parameter(table.t().contiguous().unsqueeze(0))  # 1 d npos

    def forward(self, query, attn_logits):
        gates = torch.sigmoid(attn_logits)
        pos = gates.flip(-1).cumsum(dim=-1).flip(-1)
        pos = pos.clamp(max=self.npos_max - 1)
        pos_ceil, pos_floor = pos.ceil().long(), pos.floor().long()
        logits_int = torch.matmul(query, self.pos_emb)
        logits_ceil = logits_int.gather(-1, pos_ceil)
        logits_floor = logits_int.gather(-1, pos_floor)
        w = pos - pos_floor
        return logits_ceil * w + logits_floor * (1 - w)


def causal(t):
    return torch.ones(t, t).tril()


def attention(q, k, v, mask, way, cope=None):
    """q, k, v: b h t d."""
    if cope is None and way == "fused":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    logits = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 + mask.log()
    if cope is not None:
        logits = logits + cope(q, logits)
    return logits.softmax(-1) @ v


def myopic(q, k, v, pk, pv, mask):
    """The authors' dense attention: the scores against the past's keys, their diagonal overwritten with the live ones, then the values' diagonal corrected."""
    s = q @ pk.transpose(-2, -1)
    s.diagonal(dim1=-2, dim2=-1).copy_((q * k).sum(-1))
    a = (s / q.shape[-1] ** 0.5 + mask.log()).softmax(-1)
    return a @ pv + a.diagonal(dim1=-2, dim2=-1).unsqueeze(-1) * (v - pv)


class Model:
    def __init__(self, work):
        self.work, self.shape = work, work["shape"]
        held = tensors(work["file"])
        self.tokens, self.targets = held.pop("tokens").long(), held.pop("targets").long()
        self.cope = {}
        self.p = {}
        for name, value in held.items():
            if name.endswith("attn.cope.weight"):
                self.cope[int(name.split(".")[1])] = CoPE(value)
            else:
                self.p[name] = torch.nn.Parameter(value)
        all_of = [*self.p.values(), *(c.pos_emb for c in self.cope.values())]
        groups = [{"params": [p for p in all_of if p.dim() > 1], "weight_decay": 0.01}, {"params": [p for p in all_of if p.dim() == 1], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=work["lr"], fused=True)
        t = self.shape["t"] // work["segments"] + 2 * work["memory"] if work["variant"] == "rmt" else self.shape["t"]
        self.mask = causal(t)

    def states(self, x):
        p, h = self.p, self.shape["heads"]
        b, t, d = x.shape
        if "wpe.weight" in p:
            x = x + p["wpe.weight"][:t]
        split = lambda y: y.view(b, t, h, d // h).transpose(1, 2)
        for i in range(self.shape["layers"]):
            w = lambda name: p[f"h.{i}.{name}"]
            norm = F.layer_norm(x, (d,), w("ln_1.weight"), w("ln_1.bias"))
            q, k, v = map(split, F.linear(norm, w("attn.c_attn.weight"), w("attn.c_attn.bias")).split(d, -1))
            if self.work["variant"] == "myopic":
                pk, pv = map(split, F.linear(norm.detach(), w("attn.c_attn.weight")[d:], w("attn.c_attn.bias")[d:]).split(d, -1))
                y = myopic(q, k, v, pk, pv, self.mask)
            else:
                y = attention(q, k, v, self.mask, self.work.get("way"), self.cope.get(i))
            x = x + F.linear(y.transpose(1, 2).reshape(b, t, d), w("attn.c_proj.weight"), w("attn.c_proj.bias"))
            norm = F.layer_norm(x, (d,), w("ln_2.weight"), w("ln_2.bias"))
            x = x + F.linear(F.gelu(F.linear(norm, w("mlp.c_fc.weight"), w("mlp.c_fc.bias")), approximate="tanh"), w("mlp.c_proj.weight"), w("mlp.c_proj.bias"))
        return F.layer_norm(x, (d,), p["ln_f.weight"], p["ln_f.bias"])

    def logits(self):
        p, x = self.p, F.embedding(self.tokens, self.p["wte.weight"])
        if self.work["variant"] != "rmt":
            return F.linear(self.states(x), p["lm_head.weight"])
        m, out = self.work["memory"], []
        memory = p["memory"].expand(x.shape[0], -1, -1)
        for part in x.chunk(self.work["segments"], 1):
            y = self.states(torch.cat([memory, part, memory], 1))
            out.append(F.linear(y[:, m:-m], p["lm_head.weight"]))
            memory = y[:, -m:]
        return torch.cat(out, 1)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.logits().flatten(0, 1), self.targets.flatten())
        loss.backward()
        self.optimizer.step()
        return loss.item()


class Decoder:
    """Decodes greedily, eager, in inference mode: keys and values lie in room made once, a step runs the newest token alone."""

    def __init__(self, work):
        self.shape, self.way, self.p, self.steps = work["shape"], work["way"], tensors(work["file"]), work["steps"]
        d, h, t = self.shape["d"], self.shape["heads"], self.shape["t"]
        self.keys, self.values = (torch.zeros(self.shape["layers"], 1, h, t, d // h) for _ in range(2))
        self.start = len(work["prompt"])
        self.first = self.step(torch.tensor([work["prompt"]]), 0)

    @torch.inference_mode()
    def step(self, tokens, at):
        p, h, d = self.p, self.shape["heads"], self.shape["d"]
        t = tokens.shape[1]
        end = at + t
        x = F.embedding(tokens, p["wte.weight"]) + p["wpe.weight"][at:end]
        for i in range(self.shape["layers"]):
            w = lambda name: p[f"h.{i}.{name}"]
            norm = F.layer_norm(x, (d,), w("ln_1.weight"), w("ln_1.bias"))
            q, k, v = F.linear(norm, w("attn.c_attn.weight"), w("attn.c_attn.bias")).view(1, t, 3, h, d // h).permute(2, 0, 3, 1, 4)
            self.keys[i, :, :, at:end] = k
            self.values[i, :, :, at:end] = v
            k, v = self.keys[i, :, :, :end], self.values[i, :, :, :end]
            if self.way == "fused":
                y = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
            else:
                logits = q @ k.transpose(-2, -1) / (d // h) ** 0.5
                y = (logits if t == 1 else logits + causal(t).log()).softmax(-1) @ v
            x = x + F.linear(y.transpose(1, 2).reshape(1, t, d), w("attn.c_proj.weight"), w("attn.c_proj.bias"))
            norm = F.layer_norm(x, (d,), w("ln_2.weight"), w("ln_2.bias"))
            x = x + F.linear(F.gelu(F.linear(norm, w("mlp.c_fc.weight"), w("mlp.c_fc.bias")), approximate="tanh"), w("mlp.c_proj.weight"), w("mlp.c_proj.bias"))
        x = F.layer_norm(x[:, -1:], (d,), p["ln_f.weight"], p["ln_f.bias"])
        return F.linear(x, p.get("lm_head.weight", p["wte.weight"])).argmax(-1)

    def run(self):
        """All tokens behind the prompt; the first comes with the prompt itself, before the clock starts."""
        token, text = self.first, [self.first.item()]
        for at in range(self.start, self.start + self.steps - 1):
            token = self.step(token, at)
            text.append(token.item())
        return text


def prepare(work):
    torch.set_num_threads(work["threads"])
    if work["kind"] == "generate":
        decoder = Decoder(work)
        return decoder.run, decoder.run()
    if work["kind"] == "step":
        if work["variant"] in ("cope", "myopic") and work.get("way") == "fused":
            raise ValueError("no fused attention does this")
        model = Model(work)
        losses = [model.step() for _ in range(STEPS + 1)]
        return model.step, [losses[0], losses[STEPS]]
    held = tensors(work["file"])
    if work["kind"] == "attention":
        q, k, v = (held[n].transpose(1, 2).contiguous().requires_grad_() for n in "qkv")
        cope = CoPE(held["table"]) if work["variant"] == "cope" else None
        if cope is not None and work.get("way") == "fused":
            raise ValueError("no fused attention does this")
        mask, inputs = causal(work["t"]), [q, k, v, *([cope.pos_emb] if cope else [])]

        def run():
            for x in inputs:
                x.grad = None
            y = attention(q, k, v, mask, work.get("way"), cope).sum()
            y.backward()
            return y.item()

        kept = {}

        def keep(x):
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            y = attention(q, k, v, mask, work.get("way"), cope).sum()
            given = {x.untyped_storage().data_ptr() for x in [*inputs, mask]}
            size = sum(n for at, n in kept.items() if at not in given)
            del y
        return run, [run(), *(x.grad.abs().double().sum().item() for x in inputs)], size
    if work.get("way") == "fused":
        raise ValueError("one way only")
    x, w, b, d = held["x"], held["w"], held["b"], work["d"]
    body = {"exp": lambda: x.exp(), "tanh": lambda: x.tanh(), "gelu": lambda: F.gelu(x, approximate="tanh"), "add": lambda: x + x,
            "softmax": lambda: x.softmax(-1), "layerNorm": lambda: F.layer_norm(x, (d,), w, b)}[work["name"]]
    with torch.no_grad():
        return body, [body().abs().double().sum().item()]


def main():
    held = {}
    torch.set_num_interop_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            key = order["key"]
            if order["do"] == "prepare":
                run, results, *size = prepare(order["case"])
                begin, held[key] = time.perf_counter(), (order["case"]["threads"], run)
                while True:
                    start = time.perf_counter()
                    run()
                    end = time.perf_counter()
                    if (end - begin) * 1e3 >= order["warm"]:
                        break
                reply = {"results": [x if math.isfinite(x) else str(x) for x in results], "ms": (end - start) * 1e3}
                if size:
                    reply["bytes"] = size[0]
            elif order["do"] == "drop":
                held.pop(key, None)
                reply = {}
            else:
                ms, (threads, run) = [], held[key]
                if torch.get_num_threads() != threads:
                    torch.set_num_threads(threads)
                for _ in range(order["times"]):
                    start = time.perf_counter()
                    run()
                    ms.append((time.perf_counter() - start) * 1e3)
                reply = {"ms": ms}
        except Exception as error:
            reply = {"error": str(error).split("\n")[0]}
        print(json.dumps(reply), flush=True)


main()
