-- A new connection of the pooler waits while other connections of the pooler are ending.
--
-- PgBouncer replaces a connection as soon as it ends. When the leader is killed, its processes end one after the other,
-- within milliseconds. A connection that replaces the first of them still reaches the dying postmaster and fails in its
-- login. PgBouncer then refuses every statement of a client ("server login has been failing") until a login succeeds.
-- A connection that comes later finds the port closed, and HAProxy holds it until the next leader is open.
-- docs/decisions/0028-the-pooler-is-in-front-of-haproxy.md

local STEP_MS = 20
-- A new connection waits for so many steps at most, also when connections of the pool go on ending.
local STEPS_MAX = 15
-- A leader that was opened so recently has no connections of before: its pool is to fill quickly, s.
local NEW_LEADER_SECONDS = 2

local function is_new_leader()
  for name, server in pairs(core.backends['write'].servers) do
    local stats = server:get_stats()
    if name ~= 'hold' and string.sub(stats['status'] or '', 1, 5) ~= 'MAINT' then
      return (stats['lastchg'] or 0) < NEW_LEADER_SECONDS
    end
  end
  -- HAProxy holds the connection in any case.
  return true
end

core.register_action('settle', { 'tcp-req' }, function()
  if is_new_leader() then return end
  local connections = core.frontends['write'].listeners['pooled']
  for _ = 1, STEPS_MAX do
    local before = connections:get_stats()['scur']
    core.msleep(STEP_MS)
    if connections:get_stats()['scur'] >= before then return end
  end
end, 0)
