// random.ts: random words by counter, so that a place's word does not depend on who asks, or when.
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").
import { endOf, keepIf, splat, writeOrAdd } from "./simd";

/** Block `count` of the stream, words 0 to 3. `key` is given in both halves; the counter's two high words are zero. */
function block(count: u64, key: v128): v128 {
  const multipliers = v128.load(memory.data<u32>([0xd2511f53, 0xcd9e8d57, 0, 0]));
  const weyl = v128.load(memory.data<u32>([0x9e3779b9, 0xbb67ae85, 0, 0]));
  let even = i64x2.splat(count & 0xffffffff);
  let odd = i64x2.splat(count >> 32); // words 0 2 and 1 3, in the low half
  for (let round = 0; round < 10; round++) {
    const p = i64x2.extmul_low_i32x4_u(even, multipliers);
    even = v128.xor(v128.xor(v128.shuffle<u32>(p, p, 3, 1, 3, 1), odd), key);
    odd = v128.shuffle<u32>(p, p, 2, 0, 2, 0);
    key = i32x4.add(key, weyl);
  }
  return v128.shuffle<u32>(even, odd, 0, 4, 1, 5);
}

function keyOf(low: u32, high: u32): v128 {
  return i64x2.splat((<u64>low) | ((<u64>high) << 32));
}

/** y = n words of the stream from word `position` on; both are multiples of 4. */
// threads: serial, few words at a time
export function philox(n: usize, seedLow: u32, seedHigh: u32, position: f64, y: usize): void {
  const key = keyOf(seedLow, seedHigh);
  let count = (<u64>position) >> 2;
  for (const end = y + n * 4; y < end; y += 16) v128.store(y, block(count++, key));
}

/** y = x/(1 - p) where the element's word is at least p 2^32, else 0, plus what `keep` leaves of y. */
function drop(n: usize, p: f64, seedLow: u32, seedHigh: u32, position: f64, x: usize, y: usize, keep: v128): void {
  const key = keyOf(seedLow, seedHigh);
  const share = splat(<real>(1 - p));
  const some = i64x2.splat(p < 1 ? -1 : 0);
  const least = i32x4.splat(<u32>min<f64>(ceil<f64>(p * 4294967296), 4294967295));
  let count = (<u64>position) >> 2;
  for (const end = endOf(y, n); y < end; x += 16, y += 16) {
    let mask = v128.and(i32x4.ge_u(block(count++, key), least), some);
    if (sizeof<real>() == 8) {
      // a block of words serves two vectors
      spare(v128.shuffle<u32>(mask, mask, 0, 0, 1, 1), share, x, y, keep);
      x += 16;
      y += 16;
      if (y >= end) return;
      mask = v128.shuffle<u32>(mask, mask, 2, 2, 3, 3);
    }
    spare(mask, share, x, y, keep);
  }
}

/** y = x/share where `mask`, else 0, plus what `keep` leaves of y. */
function spare(mask: v128, share: v128, x: usize, y: usize, keep: v128): void {
  writeOrAdd(y, v128.and(v128.div<real>(v128.load(x), share), mask), keep);
}

/**
 * y = x/(1 - p) where the element's word is at least p 2^32, else 0. Element i has word `position` + i; `position` is a
 * multiple of 4.
 */
// threads: n*4 position#1 x+1 y+1 | 3 ns n
export function dropout(n: usize, p: f64, seedLow: u32, seedHigh: u32, position: f64, x: usize, y: usize): void {
  drop(n, p, seedLow, seedHigh, position, x, y, keepIf(false));
}

/** dx += dy/(1 - p) where `dropout` of the same numbers kept the element. */
// threads: n*4 position#1 dy+1 dx+1 | 3 ns n
export function dropoutBack(
  n: usize,
  p: f64,
  seedLow: u32,
  seedHigh: u32,
  position: f64,
  dy: usize,
  dx: usize,
  add: bool,
): void {
  drop(n, p, seedLow, seedHigh, position, dy, dx, keepIf(add));
}
