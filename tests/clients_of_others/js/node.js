// The puppet in Node: `node node.js 4.8`.
import { createInterface } from "node:readline";

import { puppet } from "./puppet.js";

const { io } = (await import(`socket.io-client-${process.argv[2]}`)).default;
const act = puppet(io, (line) => process.stdout.write(JSON.stringify(line) + "\n"));

for await (const line of createInterface({ input: process.stdin })) act(JSON.parse(line));
process.exit(0);
