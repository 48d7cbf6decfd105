// arguments.ts: what the kernels of attention read from a block of memory instead of forty parameters. These classes
// are the only source of its names, order and types: build.mjs reads them as text and makes of each an interface for
// callers and the layout by which the engine writes a block. Numbers stand first, then what takes 4 bytes.

/** 0 where it is left out; an address of 0 is none. */
type Optional = usize;
/** 1 or 0; left out it is 0. */
type Flag = u32;

/**
 * The arguments of `attention`. Sizes and strides are in numbers, addresses in bytes. Heads lie `d` numbers apart
 * inside a row; rows lie `..i` apart, sequences `..b`. Query head j reads key-value head j / (h / g).
 */
@unmanaged
export class AttentionArguments {
  /** Weighs q·k. */
  scale: f64;
  /** Weighs a query times CoPE's table. */
  tableScale: f64;
  /** Query heads. */
  h: usize;
  /** Key-value heads, of which `h` is a multiple. */
  g: usize;
  /** Queries: the last `t` of a sequence's keys. */
  t: usize;
  /** Keys of a sequence, and of each row of `keys` and `allowed`. */
  s: usize;
  /** Numbers of a head. */
  d: usize;
  /** Rows of CoPE's table. */
  p: usize;
  /** Rows of the relative positions' table. */
  r: usize;
  /** Whether a query sees no key after its own place. */
  causal: Flag;
  /** Queries, b t h d. */
  q: usize;
  qi: usize;
  qb: usize;
  /** Keys, b s g d. */
  k: usize;
  ki: usize;
  kb: usize;
  /** Values, b s g d. */
  v: usize;
  vi: usize;
  vb: usize;
  /** CoPE's table, p d; without one nobody reads gate queries and gate keys. */
  table: Optional;
  /** From the table of a head to that of the next; 0 where heads share one. */
  tableh: Optional;
  /** Gate queries, b t h d; the queries unless given. */
  gq: Optional;
  gqi: Optional;
  gqb: Optional;
  /** Gate keys, b s g d; the keys unless given, and then, without gate queries, gates read the content logits. */
  gk: Optional;
  gki: Optional;
  gkb: Optional;
  /** Whether gate keys are b s g numbers: logits of gates that all queries share. */
  tokens: Flag;
  /** Added to the logits of gates, h. */
  gateBias: Optional;
  /** Relative positions' table, r d, scaled as the content logits. */
  rel: Optional;
  /** ALiBi's slopes, h. */
  slopes: Optional;
  /** b s: 0 for padding. */
  keys: Optional;
  /** t s: 0 for what may not be seen. */
  allowed: Optional;
  /** b s 32-bit integers: a query sees keys of its own document. */
  documents: Optional;
  /**
   * b 32-bit integers: sequence i has `counts[i]` keys, at most `s`, of which its queries are the last. So a cache is
   * read where it lies, whatever its capacity. A row's weights are then added up as in any longer sequence. For the
   * forward pass only: what reads a cache is not trained.
   */
  counts: Optional;
  /** The result, b t h d without gaps. */
  o: usize;
  /** b h t: log2 Σ 2^logit of each row, for the backward pass. */
  lse: Optional;
}

/**
 * The arguments of `attentionBack`. Gradients lie as what they are of. A flag after one says whether it is added to;
 * if not, every number is written that this kernel's heads have in all t or s rows, and nothing beside them. Gradients
 * may lie in one place: one of them is then written, if any is to be, and the others are added.
 */
@unmanaged
export class AttentionBackArguments extends AttentionArguments {
  /** The gradient of `o`, b t h d without gaps. */
  dout: usize;
  dq: Optional;
  addQ: Flag;
  dk: Optional;
  addK: Flag;
  dv: Optional;
  addV: Flag;
  /**
   * b p d, or b h p d: a table for each sequence, since the order of their sum must not depend on who computes which.
   */
  dtable: Optional;
  addTable: Flag;
  /** b h, for each sequence; written. */
  dgateBias: Optional;
  dgq: Optional;
  addGq: Flag;
  dgk: Optional;
  addGk: Flag;
  /** b r d: a table for each sequence. */
  drel: Optional;
  addRel: Flag;
  /** Myopic training, diagonal: keys, values and gate keys get what their own place sends, their pasts the rest. */
  own: Flag;
  /** t s: the share of what a query sends that goes to keys, values and gate keys; their pasts get the rest. */
  edges: Optional;
  /** The gradients of the pasts of keys, values and gate keys. */
  pk: Optional;
  addPk: Flag;
  pki: Optional;
  pkb: Optional;
  pv: Optional;
  addPv: Flag;
  pvi: Optional;
  pvb: Optional;
  pg: Optional;
  addPg: Flag;
  pgi: Optional;
  pgb: Optional;
}
