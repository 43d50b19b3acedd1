-- Open a decision, close one, or both at once, and count its outcome.
-- KEYS[1]  hash of the agent's decisions: UNIT -> decision (JSON); each field expires
-- KEYS[2]  hash of their outcomes: SLICE -> numbers, see `add`; expires
-- ARGV[1]  open: it is to be closed later. close: it must be open. settle: it need not be
-- ARGV[2]  UNIT: recalls of one unit have one arm, and one decision counts
-- ARGV[3]  the decision (JSON): id, arm (1 to 3), shares (a list of 3), action, product, regime
-- ARGV[4]  the reward; empty while it is open
-- ARGV[5]  how many decisions an agent may have here
-- ARGV[6]  milliseconds for which it may stay open
-- ARGV[7]  milliseconds for which a closed one is remembered, so that repeating changes nothing
-- ARGV[8]  seconds for which KEYS[2] is kept
-- ARGV[9]  closed decisions that an arm needs before it is compared
-- ARGV[10] the most products and regimes, each, that are counted by name
-- Returns: opened; unchanged: it is there already; counted: it is closed and counted; repeated: it
-- was counted before; other: another decision of this unit counts; conflict: it holds something
-- else; full; missing: it does not exist, or it has expired; uncounted: its reward has no finite square.
-- include require_here
require_here(string.match(KEYS[1], '^episodic_decisions:{(.*)}$'))
local mode, unit, given, reward = ARGV[1], ARGV[2], cjson.decode(ARGV[3]), ARGV[4]
local most = tonumber(ARGV[5])

-- Numbers of a slice: closed, mean reward and sum of chances of each arm; then for no memory and
-- for the placebo: how many were compared, the sum of their differences and of the squares.
local function read(name)
  local state = {}
  local text = redis.call('HGET', KEYS[2], name)
  if text then
    for word in string.gmatch(text, '%S+') do
      state[#state + 1] = tonumber(word)
    end
  else
    for i = 1, 15 do
      state[i] = 0
    end
  end
  return state, text
end

-- Each difference is that of an augmented inverse-probability-weighted estimate (docs/decisions/
-- 0035-decisions-and-arms.md), with the arms' means of the decisions closed before this one.
local function add(state, arm, shares, value)
  local least = tonumber(ARGV[9])
  for other = 2, 3 do
    local at = 10 + 3 * (other - 2)
    local own, its = shares[1], shares[other]
    local is_in = arm == 1 or arm == other
    if is_in and own > 0 and its > 0 and state[1] >= least and state[3 * other - 2] >= least then
      local chance = own / (own + its)
      local with, without = state[2], state[3 * other - 1]
      local difference = with - without
      if arm == 1 then
        difference = difference + (value - with) / chance
      else
        difference = difference - (value - without) / (1 - chance)
      end
      state[at] = state[at] + 1
      state[at + 1] = state[at + 1] + difference
      state[at + 2] = state[at + 2] + difference * difference
    end
  end
  local closed = state[3 * arm - 2] + 1
  state[3 * arm - 2] = closed
  -- Not by a sum: the mean of equal rewards is exactly theirs (Welford 1962).
  state[3 * arm - 1] = state[3 * arm - 1] + (value - state[3 * arm - 1]) / closed
  for i = 1, 3 do
    state[3 * i] = state[3 * i] + shares[i] / (shares[1] + shares[2] + shares[3])
  end
  local words = {}
  for i = 1, 15 do
    if state[i] ~= state[i] or math.abs(state[i]) == math.huge then
      return nil
    end
    words[i] = string.format('%.17g', state[i])
  end
  return table.concat(words, ' ')
end

local function count(decision)
  local value = tonumber(reward)
  local changed = {}
  for _, slice in ipairs({ '', 'product', 'regime' }) do
    local called = slice == '' and '' or decision[slice]
    if type(called) == 'string' then
      local field = slice == '' and 'all' or slice .. ':' .. called
      local state, is_known = read(field)
      local names = slice ~= '' and slice .. 's'
      if is_known or not names then
        changed[#changed + 1] = { field, add(state, decision.arm, decision.shares, value) }
      elseif tonumber(redis.call('HGET', KEYS[2], names) or 0) < tonumber(ARGV[10]) then
        changed[#changed + 1] = { field, add(state, decision.arm, decision.shares, value), names }
      end
    end
  end
  for _, one in ipairs(changed) do
    if not one[2] then
      return false
    end
  end
  for _, one in ipairs(changed) do
    redis.call('HSET', KEYS[2], one[1], one[2])
    if one[3] then
      redis.call('HINCRBY', KEYS[2], one[3], 1)
    end
  end
  redis.call('EXPIRE', KEYS[2], ARGV[8])
  return true
end

local function keep(decision, milliseconds)
  redis.call('HSET', KEYS[1], unit, cjson.encode(decision))
  redis.call('HPEXPIRE', KEYS[1], milliseconds, 'FIELDS', 1, unit)
end

local text = redis.call('HGET', KEYS[1], unit)
local known = text and cjson.decode(text)
if known and known.id ~= given.id then
  return 'other'
end
if mode == 'open' then
  if known then
    local is_same = known.action == given.action and known.product == given.product
      and known.regime == given.regime
    return is_same and 'unchanged' or 'conflict'
  elseif redis.call('HLEN', KEYS[1]) >= most then
    return 'full'
  end
  keep(given, ARGV[6])
  return 'opened'
end
if known and known.reward then
  return known.reward == reward and 'repeated' or 'conflict'
elseif not known and mode == 'close' then
  return 'missing'
end
local decision = mode == 'settle' and given or known
if not count(decision) then
  return 'uncounted'
end
decision.reward = reward
-- A closed one beyond the limit is counted but not remembered.
if known or redis.call('HLEN', KEYS[1]) < most then
  keep(decision, ARGV[7])
end
return 'counted'
