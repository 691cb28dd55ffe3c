-- What wrk does: `-- store BODY [IDS]`, `-- read IDS [again]`, or nothing for plain GET requests.
local ids, again

local function store(body, file)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   wrk.body = body
   if file then
      ids = assert(io.open(file, "a"))
      ids:setvbuf("line") -- nothing closes the file when wrk ends
      response = function(status, headers, answer)
         ids:write(answer:match('"id":"(%x+)"'), "\n")
      end
   end
end

local function next_id()
   local id = ids:read("*l")
   if not id and again then
      ids:seek("set")
      id = ids:read("*l")
   end
   -- Without an id left the daemon is asked for one that never was, and wrk reports the 404.
   return id or string.rep("0", 64)
end

local function read(file, mode)
   ids = assert(io.open(file))
   again = mode == "again"
   request = function()
      return wrk.format("GET", "/secrets/" .. next_id())
   end
end

function init(args)
   if args[1] == "store" then
      store(args[2], args[3])
   elseif args[1] == "read" then
      read(args[2], args[3])
   end
end

function done(summary, latency, requests)
   io.write(string.format("99.9th percentile %d us\n", latency:percentile(99.9)))
end
