// breath.ts: lets the host breathe during long work. Only macrotasks give timers, input and frames their turn; a loop
// that awaits promises alone keeps a page frozen. So this file asks its host for a clock and for macrotasks, the one
// file of src/ beside fast.ts that asks for anything. Neither reaches a result.

/** As much of a host as a turn needs: Node has setImmediate, pages and workers have MessageChannel. */
interface Host {
  setImmediate?: (done: () => void) => unknown;
  MessageChannel?: typeof MessageChannel;
  setTimeout: (done: () => void) => unknown;
}

/** Milliseconds of work between two breaths: with steps of as many, timers run every 50. */
const EVERY = 25;
let last = 0; // when the host last had its turn: one clock for all loops of a program, short ones in a row included

/** A turn of the host's loop. A timer comes last: pages make nested ones wait 4 ms. */
function turn(): Promise<void> {
  const { setImmediate, MessageChannel, setTimeout } = globalThis as Host;
  return new Promise(done => {
    if (setImmediate) setImmediate(done);
    else if (MessageChannel) {
      const { port1, port2 } = new MessageChannel();
      let messages = 2; // before the second Chromium runs a frame, or timers: with one, timers came every 58 ms, not 40
      port1.onmessage = () => {
        if (--messages) port2.postMessage(0);
        else {
          port1.close(); // an open one holds a process up
          done();
        }
      };
      port2.postMessage(0);
    } else setTimeout(done);
  });
}

/** Waits for a turn of the host's loop where 25 ms have passed since the last such wait; else goes on at once. */
export async function breathe(): Promise<void> {
  if (performance.now() - last < EVERY) return;
  await turn();
  last = performance.now();
}
