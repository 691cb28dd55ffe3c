-- Stores short dead drops. With a file as argument it adds the ids to the file, one a line.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"value":"correct horse battery staple"}'

local ids

local function keep(status, headers, body)
   ids:write(body:match('"id":"(%x+)"'), "\n")
end

function init(args)
   if args[1] then
      ids = assert(io.open(args[1], "a"))
      ids:setvbuf("line") -- nothing closes the file when wrk ends
      response = keep
   end
end
