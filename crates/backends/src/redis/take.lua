-- Takes one of the calls that a bucket allows in any window.
-- KEYS: the bucket, a sorted set: names of calls at the microsecond they were taken at, and `w` at minus the longest window asked for.
-- ARGV: the most in a window, the window in microseconds, the call's name, and for tests the time.
-- Returns 0 where it is taken, or how many microseconds to wait.
local bucket, most, window, name = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- What is older than the longest window is in nobody's way.
local known = redis.call('ZSCORE', bucket, 'w')
local keep = math.max(window, known and -known or 0)

-- A clock that was set back stands still until it has caught up; set back by more than that it begins anew.
local newest = tonumber(redis.call('ZREVRANGE', bucket, 0, 0, 'WITHSCORES')[2] or 0)
if newest > now + keep then
  redis.call('DEL', bucket)
elseif newest > now then
  now = newest
end

-- Before anything is decided: whoever asks with a longer window wants what a shorter one would let go.
redis.call('ZADD', bucket, -keep, 'w')
redis.call('PEXPIRE', bucket, math.ceil(keep / 1000))

local at = redis.call('ZSCORE', bucket, name)
if at and now < at + window then
  return 0
end

-- The call that must leave before there is room: behind it are one fewer than may be.
local leaves = redis.call('ZREVRANGE', bucket, most - 1, most - 1, 'WITHSCORES')[2]
if leaves and now < leaves + window then
  return leaves + window - now
end

redis.call('ZADD', bucket, now, name)
-- More than come in, and never so many that others wait for it.
local left = redis.call('ZRANGEBYSCORE', bucket, 0, now - keep, 'LIMIT', 0, 64)
if #left > 0 then
  redis.call('ZREM', bucket, unpack(left))
end
return 0
