// attention.ts: attention with every kind of position, and with the gradient to earlier places weighed. Composed from the
// operations in ops.ts.
import { known } from "../engine.ts";
import { add, bias, maskedSoftmax, mix, pick, reshape, rope, scores, tableScores } from "../ops.ts";
import { Tensor, show } from "../tape.ts";
import { cope, scales, type CopeOptions, type View } from "./cope.ts";
import { alibi, distances, has, kinds, mask, rotary, type Position } from "./position.ts";

/** What attention reads beside queries, keys and values. */
export interface AttentionOptions {
  /** Queries are the last `t` of `s` places and see none after their own; true unless given. */
  causal?: boolean;
  /** Instead of `causal`: t s, 1 where query t may look at key s, 0 where not. */
  allowed?: Tensor | undefined;
  /** b s, 1 for real keys and 0 for padding. */
  keys?: Tensor | undefined;
  /** t s, from 0 to 1: weighs what queries send back to keys and values; see `scores`. */
  edges?: Tensor | undefined;
  /** Keys, values and gate keys computed from a stopped state; they take the gradient that the edges hold back. */
  past?: { k: Tensor; v: Tensor; gateKeys?: Tensor | undefined } | undefined;
  position?: Position;
  /** Tables of CoPE and of relative positions, one row a position and as wide as a head. */
  tables?: { cope?: Tensor | undefined; relative?: Tensor | undefined };
  cope?: CopeOptions;
  /** b s h d: CoPE's gate keys where `cope.gates` is "sep". */
  gateKeys?: Tensor | undefined;
  rope?: { theta?: number; interleaved?: boolean };
}

/** y_i = Σ_j softmax_j(logits_ij) v_j, head by head: q b t h d, k and v b s h d -> b t h d. A row that may see nothing gives 0. */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  return mix(attend(q, k, v, options), v, options.edges, options.past?.v);
}

/** The weights of `attention`: softmax_j(logits_ij), b h t s. */
export function attend(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  known("attention", options, "causal", "allowed", "keys", "edges", "past", "position", "tables", "cope", "gateKeys", "rope");
  const { causal = true, allowed, keys, edges, past, position = "none", tables = {}, cope: how = {}, gateKeys, rope: turn = {} } = options;
  for (const [name, x] of Object.entries({ q, k, v })) {
    if (!(x instanceof Tensor)) throw new TypeError(`attention: ${name} is ${String(x)}\n  wants a tensor, b t h d`);
    if (x.shape.length !== 4) throw new RangeError(`attention: ${name} is ${show(x)}\n  wants four axes, b t h d`);
  }
  if (!kinds.includes(position)) throw new RangeError(`attention: position is ${String(position)}\n  wants ${kinds.join(", ")}`);
  const tape = q.tape, [b, t, h, d] = q.shape as [number, number, number, number], s = k.shape[1]!;
  for (const kind of ["cope", "relative"] as const) if (has(position, kind) && !tables[kind]) throw new TypeError(`attention: position is ${position}\n  wants tables.${kind}, [positions ${d}]`);
  if (has(position, "cope") && how.gates === "sep" && !gateKeys) throw new TypeError("attention: cope.gates is sep\n  wants gateKeys, b s h d");
  if (!["shared", "sep", "val"].includes(how.gates ?? "shared")) throw new RangeError(`attention: cope.gates is ${String(how.gates)}\n  wants shared, sep or val`);
  const view: View = { allowed: allowed ?? tape.tensor([t, s], mask(t, s, causal)), keys, edges };
  const isCope = has(position, "cope"), { scaling = "listing", gates = "shared", rotated = false } = how;
  const scale = scales(d, isCope ? scaling : "listing").content;

  let turnQ = (x: Tensor): Tensor => x, turnK = turnQ;
  if (has(position, "rope")) {
    const { cos, sin } = rotary(tape, s, d, turn), last = rotary(tape, t, d, { ...turn, start: s - t });
    turnK = x => rope(x, cos, sin, { interleaved: turn.interleaved ?? false });
    turnQ = x => rope(x, last.cos, last.sin, { interleaved: turn.interleaved ?? false });
  }
  const pastK = past && turnK(past.k);
  let logits = scores(turnQ(q), turnK(k), edges, pastK, { scale });                                                // b h t s
  if (isCope) {
    const turned = has(position, "rope");
    const seen = (x: Tensor): Tensor => turned && rotated ? turnK(x) : x, qs = turned && rotated ? turnQ(q) : q;
    // The gates may share the content logits only where those are pure q·k under one scale.
    const source = gates === "val" ? v : gates === "sep" ? gateKeys : turned && !rotated ? k : undefined;
    const stopped = gates === "val" ? past?.v : gates === "sep" ? past?.gateKeys : past?.k;
    logits = cope(logits, qs, tables.cope!, view, { scaling, gateKeys: source && seen(source), past: source && stopped && seen(stopped) });
  }
  if (has(position, "relative")) {
    const relative = tables.relative!, index = tape.integers([t, s], distances(t, s, relative.shape[0]!));
    logits = add(logits, pick(tableScores(q, relative, { scale }), index));
  }
  if (has(position, "alibi")) logits = reshape(bias(reshape(logits, [b, h * t * s]), tape.tensor([h * t * s], alibi(h, t, s))), [b, h, t, s]);
  return maskedSoftmax(logits, view.allowed, keys);
}
