-- Notes that a process lives, and counts those that do.
-- KEYS: the processes, a sorted set by the second they were heard last.  ARGV: this one, for how many seconds one counts that is silent.
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2] * 2)
return redis.call('ZCARD', KEYS[1])
