// Runs Surfpool until standard input ends; scripts/surfpool says how to call it.
import { createRequire } from "node:module";
import path from "node:path";

const [home, ...options] = process.argv.slice(2);
const values = (name) => options.flatMap((option, index) => (option === name ? [options[index + 1]] : []));
const slotMs = Number(values("--slot-ms")[0] ?? 50);

const require = createRequire(path.join(path.resolve(home), "package.json"));
const { Surfnet } = require("@solana/surfpool-linux-x64-gnu");

const net = Surfnet.startWithConfig({ offline: true, blockProductionMode: "clock", slotTimeMs: slotMs });
const stop = (code) => {
  net.stop();
  process.exit(code);
};
process.on("SIGTERM", () => stop(0));
process.on("SIGINT", () => stop(0));
// Who started it holds the other end, so it never outlives them.
process.stdin.on("end", () => stop(0));
process.stdin.on("error", () => stop(0));
process.stdin.resume();
// Its events fill a queue that nobody else reads.
setInterval(() => net.drainEvents(), 1000);

async function call(method, params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const response = await fetch(net.rpcUrl, { method: "POST", headers: { "content-type": "application/json" }, body });
  const answer = await response.json();
  if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
  return answer.result;
}

try {
  for (const program of values("--program")) {
    const [programId, soPath] = program.split("=", 2);
    net.deploy({ programId, soPath });
  }
  // Before the first block the height is the slot, and then falls; nobody shall see that.
  for (;;) {
    const { absoluteSlot, blockHeight } = await call("getEpochInfo", []);
    if (absoluteSlot > 31 && blockHeight < absoluteSlot) break;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  console.log(JSON.stringify({ rpc: net.rpcUrl, ws: net.wsUrl }));
} catch (error) {
  console.error(error.message);
  stop(1);
}
