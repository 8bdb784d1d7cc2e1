"""The log's atomic steps, as Lua that runs inside Redis.

Every script touches the keys of one hash tag only and may be repeated: a step that is
already done is done again without effect. Times are Redis's own (`TIME`), so brokers
need no common clock.
"""

from __future__ import annotations

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

# How long the broker that ended a job has to settle it: it may read its text first.
SETTLE_MS = 5_000

# KEYS: job, relays. ARGV: job id, head, lease ms, record ttl s. Returns the epoch.
CREATE = (
    _NOW
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'head', ARGV[2], 'epoch', 1, 'last_seq', 0)
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
end
return tonumber(redis.call('HGET', KEYS[1], 'epoch'))
"""
)

# KEYS: job, log, relays.
# ARGV: job id, epoch, log ttl s, record ttl s, first_token_at, durable, ended_at, end name,
#       then seq, name, data of each event.
# `durable`: up to here replicas are known to have the log; '' where there are none to ask.
# Returns 1 stored, 0 fenced, -1 missing (no record), -2 a gap before the first event.
# It writes something in every case in which it returns 1: WAIT then waits for just that.
# A job that has ended stays among the relays until it is settled: if its broker dies before,
# somebody else takes it over and settles it.
APPEND = """
local job = redis.call('HMGET', KEYS[1], 'epoch', 'last_seq')
if not job[1] then return -1 end
if job[1] ~= ARGV[2] then return 0 end
local last = tonumber(job[2])
for i = 9, #ARGV, 3 do
  local seq = tonumber(ARGV[i])
  if seq > last then
    if seq ~= last + 1 then return -2 end
    redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 'n', ARGV[i + 1], 'd', ARGV[i + 2])
    last = seq
  end
end
redis.call('HSET', KEYS[1], 'last_seq', last, 'first_token_at', ARGV[5], 'durable', ARGV[6])
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[1], 'ended_at', ARGV[7], 'end_name', ARGV[8], 'end', ARGV[#ARGV])
  local t = redis.call('TIME')
  local by = t[1] * 1000 + math.floor(t[2] / 1000) + SETTLE_MS
  redis.call('ZADD', KEYS[3], 'XX', by, ARGV[1])
  redis.call('EXPIRE', KEYS[2], ARGV[3])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
elseif job[2] == '0' then
  redis.call('EXPIRE', KEYS[2], ARGV[4])
end
return 1
""".replace("SETTLE_MS", str(SETTLE_MS))

# KEYS: job, relays. ARGV: job id. Takes back a record that nobody has begun to run. Returns 0
# when somebody has.
DISCARD = """
local job = redis.call('HMGET', KEYS[1], 'epoch', 'last_seq')
if not job[1] then return 1 end
if job[1] ~= '1' or job[2] ~= '0' then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
"""

# KEYS: job. ARGV: epoch, number of the engine that serves.
NOTE_ENGINE = """
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'engine', ARGV[2])
end
return 1
"""

# KEYS: relays, jobs. ARGV: lease ms, id and epoch of each. Returns the ids of those that have
# another relay by now: whoever is none does not keep its lease alive.
RENEW = (
    _NOW
    + """
local others = {}
for i = 2, #KEYS do
  local id, epoch = ARGV[2 * i - 2], redis.call('HGET', KEYS[i], 'epoch')
  if epoch and epoch ~= ARGV[2 * i - 1] then
    others[#others + 1] = id
  else
    redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], id)
  end
end
return others
"""
)

# KEYS: relays. ARGV: margin ms, most. Returns job ids whose lease ended before now - margin.
ORPHANS = (
    _NOW
    + """
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1], 'LIMIT', 0, ARGV[2])
"""
)

# KEYS: job, relays. ARGV: job id, margin ms, lease ms.
# Takes an orphan over, also one that has ended and was not settled. Returns the new epoch,
# or 0 when it is no orphan any more. The record then says for how many ms its lease had
# lapsed (0: it was given up).
ACQUIRE = (
    _NOW
    + """
local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not ends or tonumber(ends) > now - ARGV[2] then return 0 end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 0
end
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[1], 'lapsed', tonumber(ends) == 0 and 0 or now - tonumber(ends))
return redis.call('HINCRBY', KEYS[1], 'epoch', 1)
"""
)

# KEYS: job, relays. ARGV: job id, epoch. Gives a lease up at once, for another to take over.
RELEASE = """
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[2] then
  redis.call('ZADD', KEYS[2], 'XX', 0, ARGV[1])
end
return 1
"""

# KEYS: job, control. ARGV: job id, reason, control ttl s.
CANCEL = """
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'end_name') == 1 then
  return 0
end
redis.call('HSETNX', KEYS[1], 'cancel', ARGV[2])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, '*', 'job', ARGV[1], 'reason', ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""

# KEYS: claim. ARGV: claim, ttl s. Returns the claim that stands. One that stands is written
# once more: who relies on it waits until it is acknowledged.
CLAIM = """
local standing = redis.call('GET', KEYS[1])
if standing then
  redis.call('SET', KEYS[1], standing, 'KEEPTTL')
  return standing
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
"""

# KEYS: claim. ARGV: expected, replacement, ttl s. Replaces a claim that nobody changed.
RECLAIM = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

# KEYS: claim. ARGV: expected.
UNCLAIM = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
