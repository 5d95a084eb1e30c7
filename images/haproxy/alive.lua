-- A new connection waits until every node that it may reach has answered, so that it does not reach a dying PostgreSQL.
--
-- When a container is killed, its processes get SIGKILL together, but they end one after the other, within milliseconds.
-- A client whose session has ended connects again in that time, and the kernel still accepts for the dying postmaster.
-- After SIGKILL no process of the container runs a line of code. So a keeper that answers what was asked after the new
-- connection came proves that the end before it was not that of the container. No answer: the connection waits until the
-- postmaster's port is closed. docs/decisions/0037-a-new-connection-waits-for-an-answer.md
--
-- Each thread of HAProxy runs this file in a Lua of its own, so that no question waits for another thread. It has one
-- connection to the keeper of each open node, and one question at a time; all clients that wait share the next one.
-- A node whose keeper has not answered yet (it starts, or its image is older) is not asked.

-- Port of each keeper (keeperAlive in failover/contract/layout.ts).
local PORT = tonumber((...))
local CONNECT_SECONDS = 0.5
-- A connection that gives no answer for so long is made anew. Without clients a question goes out with each look.
local SILENCE_SECONDS = 5
-- Interval of looks at the slots, and of attempts to connect to a keeper.
local LOOK_MS = 1000
-- Time from the end of the keeper's connection until PostgreSQL's processes in that container have ended.
local DYING_MS = 20
-- A client waits for this long at most (STEPS_MAX times STEP_MS), for example when the container hangs.
local STEP_MS = 10
local STEPS_MAX = 10
-- With more connects a second than this, over all threads, in each of the last two seconds, none waits. A question takes
-- about 1 ms of processor time, and clients that connect so often connect again after an error anyway.
local CONNECTS_MAX = 100

-- By host: { host, wanted, answers, wake = queue, flying = clients of the open question, next = those that came later }.
local keepers = {}
-- By backend: the keepers of the nodes whose slots are open.
local open = { write = {}, read = {} }
-- Clients: { queue, steps, gone }.
local waiting = {}
local limiting = false
local limit = core.queue()
-- Connects of this thread in the present second and in the two before it, and how many are too many.
local connects = { second = 0, present = 0, last = 0, earlier = 0, max = CONNECTS_MAX }

-- Counts a connect. A burst, such as that after the end of a leader, is in the present second and counts later only.
local function are_too_many()
  local second = core.now().sec
  if second ~= connects.second then
    local follows = second == connects.second + 1
    connects.earlier = follows and connects.last or 0
    connects.last = follows and connects.present or 0
    connects.second, connects.present = second, 0
  end
  connects.present = connects.present + 1
  return connects.last > connects.max and connects.earlier > connects.max
end

local function wake(keeper)
  if keeper.wake:size() == 0 then keeper.wake:push(true) end
end

local function let_go(client)
  if client.gone then return end
  client.gone = true
  client.queue:push(true)
end

local function let_all_go(clients)
  for _, client in ipairs(clients) do let_go(client) end
end

-- Returns when the connection has ended, or the keeper is not wanted any more.
local function talk(keeper)
  local socket = core.tcp()
  socket:settimeout(CONNECT_SECONDS)
  if socket:connect(keeper.host, PORT) then
    socket:settimeout(SILENCE_SECONDS)
    local question = 0
    while keeper.wanted do
      local byte = string.char(question)
      if not socket:send(byte) or socket:receive(1) ~= byte then break end
      keeper.answers = true
      let_all_go(keeper.flying)
      keeper.wake:pop_wait()
      keeper.flying, keeper.next = keeper.next, {}
      question = (question + 1) % 256
    end
  end
  socket:close()
end

local function keep(keeper)
  while keeper.wanted do
    pcall(talk, keeper)
    -- Clients that connect during this pause wait, too.
    if keeper.answers and keeper.wanted then core.msleep(DYING_MS) end
    keeper.answers = false
    let_all_go(keeper.flying)
    let_all_go(keeper.next)
    keeper.flying, keeper.next = {}, {}
    core.msleep(LOOK_MS)
  end
end

local function keeper_of(host)
  if keepers[host] == nil then
    keepers[host] = { host = host, wanted = true, answers = false, wake = core.queue(), flying = {}, next = {} }
    core.register_task(keep, keepers[host])
  end
  return keepers[host]
end

local function hosts(backend)
  local found = {}
  for name, server in pairs(core.backends[backend].servers) do
    local host, port = string.match(server:get_addr() or '', '^(.*):(%d+)$')
    if name ~= 'hold' and host and tonumber(port) > 1 then
      local status = server:get_stats()['status'] or ''
      if string.sub(status, 1, 5) ~= 'MAINT' then found[#found + 1] = host end
    end
  end
  return found
end

local function look()
  local wanted = {}
  -- After a reload this worker ends with its last connection, and those to the keepers count.
  local info = core.get_info()
  local stopping = tonumber(info['Stopping']) == 1
  connects.max = CONNECTS_MAX / (tonumber(info['Nbthread']) or 1)
  for backend in pairs(open) do
    local found = {}
    for _, host in ipairs(stopping and {} or hosts(backend)) do
      wanted[host] = true
      found[#found + 1] = keeper_of(host)
    end
    open[backend] = found
  end
  for host, keeper in pairs(keepers) do
    if not wanted[host] then
      keeper.wanted = false
      keepers[host] = nil
    end
    wake(keeper)
  end
end

core.register_task(function()
  while true do
    pcall(look)
    core.msleep(LOOK_MS)
  end
end)

-- Ends the wait of clients that have no answer.
local function step()
  local still = {}
  for _, client in ipairs(waiting) do
    client.steps = client.steps + 1
    if client.steps > STEPS_MAX then let_go(client) end
    if not client.gone then still[#still + 1] = client end
  end
  waiting = still
end

core.register_task(function()
  while true do
    limit:pop_wait()
    repeat
      core.msleep(STEP_MS)
      step()
    until #waiting == 0
    limiting = false
  end
end)

local function ask(keeper)
  local client = { queue = core.queue(), steps = 0, gone = false }
  keeper.next[#keeper.next + 1] = client
  waiting[#waiting + 1] = client
  wake(keeper)
  if not limiting then
    limiting = true
    limit:push(true)
  end
  return client.queue
end

-- The question goes out when the client has connected, while HAProxy still waits for its first bytes. HAProxy evaluates
-- the rules anew when they have come.
core.register_action('ask', { 'tcp-req' }, function(client, backend)
  if client:get_priv() then return end
  local answers = {}
  for _, keeper in ipairs(are_too_many() and {} or open[backend]) do
    if keeper.answers then answers[#answers + 1] = ask(keeper) end
  end
  client:set_priv(answers)
end, 1)

core.register_action('answered', { 'tcp-req' }, function(client)
  -- HAProxy lets no action wait for a client that has sent its last byte already.
  for _, queue in ipairs(client:get_priv() or {}) do pcall(queue.pop_wait, queue) end
end, 0)
