// The same PostgreSQL and Valkey as ours, by the drivers a Node team would take.
import { Redis } from "ioredis";
import pg from "pg";

export const QUEUE = "messages";

export const openPool = () => new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

// BullMQ's blocking reads need a client that never gives up; pipelining by itself spares round trips.
export const openRedis = () =>
  new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null, enableAutoPipelining: true });

export const KEPT = { removeOnComplete: true, removeOnFail: 1000, attempts: 12, backoff: { type: "exponential", delay: 1000 } };
