"""The Lua scripts of circuits and rate limits, run inside Redis: one clock, one state, one round trip for each call.

An integration has one hash. Moments are microseconds of Redis's clock; an absent `state` is CLOSED. `changed_at` is
when the state last changed and serves as the ticket of calls begun since. All keys expire. A script that changes a
circuit's state publishes that on the channel of circuits in the same step.
"""

_BEGIN = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(number) return string.format('%.0f', number) end
local function tell() redis.call('PUBLISH', 'interalpha:circuits', KEYS[1]) end
local function keep(...)
  redis.call('HSET', KEYS[1], ...)
  redis.call('PEXPIRE', KEYS[1], 7200000)
end
"""

ALLOW = (
    _BEGIN
    + """
-- wanted, microseconds between two messages (0: unpaced), burst, the trial's lease
-- returns count, microseconds to wait, state, ticket, whether the state changed
local wanted, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local burst, lease = tonumber(ARGV[3]), tonumber(ARGV[4])
local entry = redis.call('HMGET', KEYS[1], 'state', 'changed_at', 'retry_at', 'trial_until', 'paused_until', 'due')
local state, ticket = entry[1] or 'CLOSED', tonumber(entry[2] or 0)
local function wait(moment)
  return {0, moment - now, state, ticket, 0}
end
local paused_until, retry_at, trial_until = tonumber(entry[5] or 0), tonumber(entry[3] or 0), tonumber(entry[4] or 0)
if now < paused_until then return wait(paused_until) end
if state == 'OPEN' and now < retry_at then return wait(retry_at) end
if state == 'HALF_OPEN' and now < trial_until then return wait(math.min(trial_until, now + 500000)) end

local granted = wanted
if state ~= 'CLOSED' then granted = math.min(wanted, 1) end
local pause = 0
if interval > 0 and wanted > 0 then
  -- GCRA: `due` is the moment at which everything granted so far will have been sent at an even pace.
  local due = math.max(tonumber(entry[6] or 0), now)
  local room = math.floor(burst - (due - now) / interval + 0.001)
  granted = math.max(0, math.min(granted, room))
  due = due + granted * interval
  if granted > 0 then keep('due', int(due)) end
  if granted < wanted then
    -- Worth asking again once a tenth of a second's messages are free, not at each single one.
    local worth = math.max(1, math.min(wanted - granted, burst, math.ceil(100000 / interval)))
    pause = math.max(1, due - now - (burst - worth) * interval)
  end
end
local changed = 0
if granted > 0 and state ~= 'CLOSED' then
  if state == 'OPEN' then
    changed = 1
    tell()
  end
  state, ticket = 'HALF_OPEN', now
  keep('state', state, 'changed_at', int(now), 'trial_until', int(now + lease))
end
return {granted, pause, state, ticket, changed}
"""
)

GIVE_BACK = (
    _BEGIN
    + """
-- count, microseconds between two messages (0: unpaced), ticket
local entry = redis.call('HMGET', KEYS[1], 'state', 'changed_at', 'due')
if entry[3] and tonumber(ARGV[2]) > 0 then
  keep('due', int(tonumber(entry[3]) - tonumber(ARGV[1]) * tonumber(ARGV[2])))
end
-- A trial that found nothing to send is free for the next worker.
if entry[1] == 'HALF_OPEN' and entry[2] == ARGV[3] then keep('trial_until', '0') end
return 0
"""
)

RENEW = (
    _BEGIN
    + """
-- the trial's lease in microseconds, its ticket
-- returns whether that trial is still under way
local entry = redis.call('HMGET', KEYS[1], 'state', 'changed_at')
if entry[1] ~= 'HALF_OPEN' or entry[2] ~= ARGV[2] then return 0 end
keep('trial_until', int(now + tonumber(ARGV[1])))
return 1
"""
)

REPORT = (
    _BEGIN
    + """
-- failures and refusals that open, first and longest pause, jitter (0 to 1), pause the provider asked for, seconds for
-- which a tenant counts as active, then groups of calls as JSON: each with its ticket, how many were answered, how many
-- failed or were refused as any call would have been, suspects ({recipient, tenant, whether refused}), and tenants
-- returns state, failures in a row, refusals in a row, microseconds to wait, whether the state changed
local entry = redis.call('HMGET', KEYS[1], 'state', 'changed_at', 'openings', 'paused_until', 'certain_failures',
  'certain_refusals', 'suspects', 'active', 'failures', 'refusals')
local state, ticket = entry[1] or 'CLOSED', entry[2] or '0'
if tonumber(ARGV[6]) > 0 then
  keep('paused_until', int(math.max(tonumber(entry[4] or 0), now + tonumber(ARGV[6]))))
end

-- Recipients and tenants are hashes. The list of suspects holds each recipient once, the last ones only.
local suspects, known, active = {}, {}, {}
for recipient, tenant, how in string.gmatch(entry[7] or '', '(%x+):(%x+):(%a)') do
  suspects[#suspects + 1] = {recipient, tenant, how}
  known[recipient] = suspects[#suspects]
end
local seconds = math.floor(now / 1000000)
for tenant, at in string.gmatch(entry[8] or '', '(%x+):(%d+)') do
  if seconds - tonumber(at) < tonumber(ARGV[7]) then active[tenant] = tonumber(at) end
end

local answered, failed, refused, doubtful, is_new, is_ours, is_seen = 0, 0, 0, 0, false, false, false
for _, group in ipairs(cjson.decode(ARGV[8])) do
  for _, tenant in ipairs(group[6]) do
    -- Written again once a minute at most.
    if not active[tenant] or seconds - active[tenant] >= 60 then active[tenant], is_seen = seconds, true end
  end
  -- What began before the last change says nothing about the time since: it neither closes nor opens.
  if group[1] == ticket then
    is_ours = true
    answered, failed, refused = answered + group[2], failed + group[3] + group[4], refused + group[4]
    doubtful = doubtful + #group[5]
    for _, suspect in ipairs(group[5]) do
      local how = suspect[3] and 'R' or 'F'
      if not known[suspect[1]] then
        is_new = true
        suspects[#suspects + 1] = {suspect[1], suspect[2], how}
        known[suspect[1]] = suspects[#suspects]
      elseif how == 'R' then
        known[suspect[1]][3] = how
      end
    end
  end
end
if is_seen then
  local names = {}
  for tenant in pairs(active) do names[#names + 1] = tenant end
  table.sort(names, function(one, other)
    if active[one] == active[other] then return one < other end
    return active[one] > active[other]
  end)
  for place, tenant in ipairs(names) do names[place] = tenant .. ':' .. active[tenant] end
  keep('active', table.concat(names, ' ', 1, math.min(#names, 8)))
end

if answered > 0 then
  local forgotten = {'failures', 'refusals', 'certain_failures', 'certain_refusals', 'suspects'}
  if state == 'CLOSED' then
    if entry[9] then redis.call('HDEL', KEYS[1], unpack(forgotten)) end
    return {state, 0, 0, 0, 0}
  end
  redis.call('HDEL', KEYS[1], 'state', 'openings', 'opened_at', 'retry_at', 'trial_until', unpack(forgotten))
  keep('changed_at', int(now))
  tell()
  return {'CLOSED', 0, 0, 0, 1}
end

if failed == 0 and doubtful == 0 then
  -- A trial that says nothing about the provider is free for the next worker.
  if is_ours and state == 'HALF_OPEN' then keep('trial_until', '0') end
  return {state, tonumber(entry[9] or 0), tonumber(entry[10] or 0), 0, 0}
end

-- Suspects of one tenant say nothing about the provider while other active tenants have no such failures.
while #suspects > 32 do table.remove(suspects, 1) end
local suspected, suspected_refusals, tenants, distinct, others, words = #suspects, 0, {}, 0, 0, {}
for place, suspect in ipairs(suspects) do
  words[place] = table.concat(suspect, ':')
  if suspect[3] == 'R' then suspected_refusals = suspected_refusals + 1 end
  if not tenants[suspect[2]] then tenants[suspect[2]], distinct = true, distinct + 1 end
end
for tenant in pairs(active) do
  if not tenants[tenant] then others = others + 1 end
end
if distinct < 2 and others > 0 then suspected, suspected_refusals = 0, 0 end

local certain, certain_refusals = failed + tonumber(entry[5] or 0), refused + tonumber(entry[6] or 0)
local failures, refusals = certain + suspected, certain_refusals + suspected_refusals
keep('failures', failures, 'refusals', refusals, 'certain_failures', certain, 'certain_refusals', certain_refusals,
  'suspects', table.concat(words, ' '))
if state == 'CLOSED' and failures < tonumber(ARGV[1]) and refusals < tonumber(ARGV[2]) then
  return {state, failures, refusals, 0, 0}
end
-- A trial that failed for a recipient who is suspected already makes the pause no longer.
local openings = tonumber(entry[3] or 0)
if state ~= 'CLOSED' and failed == 0 and not is_new then openings = math.max(0, openings - 1) end
local pause = math.min(tonumber(ARGV[4]), tonumber(ARGV[3]) * 2 ^ math.min(openings, 30))
-- Up to a fifth less, so that several installations do not try at once.
pause = pause * (1 - 0.2 * tonumber(ARGV[5]))
keep('state', 'OPEN', 'changed_at', int(now), 'retry_at', int(now + pause), 'openings', openings + 1)
redis.call('HSETNX', KEYS[1], 'opened_at', int(now))
tell()
return {'OPEN', failures, refusals, pause, 1}
"""
)

NOW = """
-- returns the store's time in microseconds
local time = redis.call('TIME')
return time[1] * 1000000 + time[2]
"""

RESET = (
    _BEGIN
    + """
-- until when this may run: after that, the caller was answered that nothing was reset
-- returns -1 where it is too late, else whether it was anything but closed; the pace stays
if now > tonumber(ARGV[1]) then return -1 end
local state = redis.call('HGET', KEYS[1], 'state')
redis.call(
  'HDEL', KEYS[1], 'state', 'failures', 'refusals', 'openings', 'opened_at', 'retry_at', 'trial_until', 'paused_until',
  'certain_failures', 'certain_refusals', 'suspects'
)
keep('changed_at', int(now))
tell()
return state and 1 or 0
"""
)

READ = """
-- for each key: state, failures in a row, opened_at, retry_at, refusals in a row, changed_at; '' where there is none
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local found = {}
for place, key in ipairs(KEYS) do
  local entry = redis.call(
    'HMGET', key, 'state', 'failures', 'opened_at', 'retry_at', 'trial_until', 'refusals', 'changed_at'
  )
  local state, retry_at = entry[1] or 'CLOSED', entry[4] or ''
  -- Once its time is over, an open circuit lets the next call through, and is shown as HALF_OPEN before that call.
  if state == 'OPEN' and now >= tonumber(retry_at) then state = 'HALF_OPEN' end
  if entry[1] == 'HALF_OPEN' and tonumber(entry[5]) > now then retry_at = entry[5] end
  found[place] = {state, entry[2] or '0', entry[3] or '', retry_at, entry[6] or '0', entry[7] or ''}
end
return found
"""

ADMIT = """
-- one key for each message; microseconds between two messages to one person, burst
-- returns for each message 0, or the microseconds to wait
-- A burst lasts one interval; messages sent in advance are waited for afterwards.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local waits, held = {}, {}
for place, key in ipairs(KEYS) do
  local start, count = string.match(redis.call('GET', key) or '', '(%d+) (%d+)')
  start, count = tonumber(start or now), tonumber(count or 0)
  local free = start + count * interval
  if now >= free then start, count, free = now, 0, now end
  if count == 0 or (count < burst and now < start + interval) then
    free = start + (count + 1) * interval
    local pair = string.format('%.0f %d', start, count + 1)
    redis.call('SET', key, pair, 'PX', math.max(1, math.ceil((free - now) / 1000)))
    waits[place] = 0
  else
    -- Messages held back together get different times, so that they do not all come back at once.
    local before = held[key] or 0
    held[key] = before + 1
    waits[place] = math.max(1, free - now + math.floor(before / burst) * burst * interval)
  end
end
return waits
"""
