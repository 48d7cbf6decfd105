// breath.ts: lets the host breathe during long work. Only macrotasks give timers, input and frames their turn; a loop
// that awaits promises alone keeps a page frozen. So this file asks its host for a clock and for one macrotask, the one
// file of src/ beside fast.ts that asks for anything. Neither reaches a result.

/** Milliseconds of work between two breaths: with a step of as many, timers run every 50. */
const EVERY = 16;
let last = 0; // when the host last had its turn: one clock for all loops of a program, short ones in a row included

/** The next turn of the host's loop. A timer comes last: pages make nested ones wait 4 ms. */
function turn(): Promise<void> {
  const { setImmediate, MessageChannel, setTimeout } = globalThis as Partial<typeof globalThis> & {
    setImmediate?: (done: () => void) => void;
  };
  return new Promise(done => {
    if (setImmediate) setImmediate(done);
    else if (MessageChannel) {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close(); // an open one holds a process up
        done();
      };
      port2.postMessage(0);
    } else setTimeout!(done);
  });
}

/** Waits for one turn of the host's loop where 25 ms have passed since the last such wait; else goes on at once. */
export async function breathe(): Promise<void> {
  if (performance.now() - last < EVERY) return;
  await turn();
  last = performance.now();
}
