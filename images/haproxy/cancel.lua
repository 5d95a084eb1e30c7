-- A cancel request of PostgreSQL's protocol (manual 53.2.8) is a connection of its own: 16 bytes, and the server closes.
-- The key in it names no node, so it goes to all nodes; those that do not know it do nothing. It waits in no queue.
-- docs/decisions/0031-cancel-requests.md
--
-- The packet is what the client sent, byte for byte, and goes only to the nodes that the monitor has set in the backend
-- `reach`. A client that asks too often is closed, and its packet is not passed on.

local PACKET_BYTES = 16
-- One for the connection and one for the node's close.
local STEP_SECONDS = 0.5
local AT_ONCE = 32
local A_SECOND = 200

local running = 0
local second = 0
local begun = 0

local function may_begin()
  local now = core.now().sec
  if now ~= second then second, begun = now, 0 end
  if running >= AT_ONCE or begun >= A_SECOND then return false end
  running, begun = running + 1, begun + 1
  return true
end

-- Nodes that are declared and that HAProxy reaches.
local function nodes()
  local found = {}
  for _, server in pairs(core.backends['reach'].servers) do
    local status = server:get_stats()['status'] or ''
    local host, port = string.match(server:get_addr() or '', '^(.*):(%d+)$')
    if host and tonumber(port) > 1 and string.sub(status, 1, 2) == 'UP' then
      found[#found + 1] = { host = host, port = tonumber(port) }
    end
  end
  return found
end

-- PostgreSQL closes when it has sent the signal.
local function pass_on(node, packet, done)
  pcall(function()
    local socket = core.tcp()
    socket:settimeout(STEP_SECONDS)
    if socket:connect(node.host, node.port) and socket:send(packet) then socket:receive('*a') end
    socket:close()
  end)
  done:push(true)
end

-- The client is closed after the nodes: libpq takes the close for "the signal is sent".
core.register_service('cancel', 'tcp', function(client)
  if not may_begin() then return end
  pcall(function()
    local packet = client:receive(PACKET_BYTES)
    if packet == nil or #packet ~= PACKET_BYTES then return end
    local done = core.queue()
    local all = nodes()
    for _, node in ipairs(all) do core.register_task(pass_on, node, packet, done) end
    for _ = 1, #all do done:pop_wait() end
  end)
  running = running - 1
end)
