// Takes and releases a lock with node-redlock for a while, and prints when it held it: begin and end in milliseconds of the wall
// clock, both within the hold. Arguments: port, key, ttl and duration in milliseconds.
"use strict";
const Redis = require("ioredis");
const { default: Redlock } = require("redlock");

const [port, key, ttl, duration] = [+process.argv[2], process.argv[3], +process.argv[4], +process.argv[5]];
const client = new Redis(port, "127.0.0.1", {
  socketTimeout: 150, // ends a connection that hangs
  maxRetriesPerRequest: 1,
  enableReadyCheck: false,
  retryStrategy: () => 20,
});
client.on("error", () => {}); // a fault, and it dials again
const redlock = new Redlock([client], { retryCount: 0 });
redlock.on("error", () => {});
let failure;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

(async () => {
  const end = Date.now() + duration;
  while (Date.now() < end) {
    const start = Date.now();
    let lock;
    try {
      lock = await redlock.acquire([key], ttl);
    } catch (e) {
      failure = e;
      await sleep(1 + Math.random() * 9);
      continue;
    }
    const enter = Date.now() + 1;
    await sleep(2 + Math.random() * 5);
    const leave = Math.min(Date.now(), start + ttl * 0.99 - 2);
    if (enter < leave) {
      console.log(enter, leave);
    }
    await lock.release().catch(() => {});
  }
  client.disconnect();
  const attempts = await Promise.all((failure && failure.attempts) || []);
  console.error("last failure:", String(failure), ...attempts.flatMap((a) => [...a.votesAgainst.values()].map(String)));
})();
