// Runs anvil until standard input ends; scripts/anvil says how to call it.
import { spawn } from "node:child_process";
import path from "node:path";

const [home, ...options] = process.argv.slice(2);
const packages = path.join(path.resolve(home), "node_modules");
const program = path.join(packages, "@foundry-rs/anvil-linux-amd64/bin/anvil");
const node = spawn(program, ["--host", "127.0.0.1", "--port", "0", ...options], { stdio: ["ignore", "pipe", "inherit"] });

let isEnding = false;
const end = () => {
  isEnding = true;
  node.kill("SIGKILL");
};
process.on("SIGTERM", end);
process.on("SIGINT", end);
// Who started it holds the other end, so it never outlives them.
process.stdin.on("end", end);
process.stdin.on("error", end);
process.stdin.resume();
node.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
node.on("exit", (code, signal) => {
  if (!isEnding) console.error(`anvil ended: ${code ?? signal}`);
  process.exit(isEnding ? 0 : 1);
});

let said = "";
let isReady = false;
node.stdout.on("data", (chunk) => {
  // What it says later is of no use, but has to be read.
  if (isReady) return;
  said += chunk;
  const address = /Listening on (127\.0\.0\.1:\d+)/.exec(said)?.[1];
  if (!address) return;
  isReady = true;
  console.log(JSON.stringify({ rpc: `http://${address}`, packages }));
});
