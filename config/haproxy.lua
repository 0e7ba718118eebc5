-- The check of a request by datafor_token, for haproxy.cfg beside this file. Nothing here needs a change: haproxy.cfg
-- has the address of the check, its options, and the name of the token.

-- Only what the check looks at: nothing else that a client sends can make it fail.
local PASSED_ON = {
    "host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "authorization", "cookie", "accept",
    "accept-language", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site", "x-requested-with", "sec-purpose", "purpose",
    "x-moz", "x-purpose",
}
local IDENTITY = {"remote-user", "remote-name", "remote-email", "remote-groups", "x-datafor-assertion"}
-- What the client receives of a response other than 200.
local RETURNED = {
    "location", "www-authenticate", "retry-after", "set-cookie", "cache-control", "content-type",
    "content-security-policy", "vary", "referrer-policy", "x-content-type-options", "x-request-id",
}

-- Set txn.datafor_clean to the path and query without the token, and txn.datafor_token if there was one.
core.register_action("datafor_clean", {"http-req"}, function(txn, token_name)
    local clean = txn.sf:pathq()
    local path, query = clean:match("^([^?]*)%??(.*)$")
    local kept, found = {}, false
    for part in (query .. "&"):gmatch("([^&]*)&") do
        local name = (part:match("^[^=]*=") or ""):gsub("%%(%x%x)", function(hex)
            return string.char(tonumber(hex, 16))
        end)
        if name == token_name .. "=" then
            found = true
        else
            kept[#kept + 1] = part
        end
    end
    if found then
        clean = path .. (#kept > 0 and "?" .. table.concat(kept, "&") or "")
    end
    txn:set_var("txn.datafor_clean", clean)
    txn:set_var("txn.datafor_token", found)
end, 1)

-- Set the identity of the request's user and txn.datafor_passed, or return what the check responds.
core.register_action("datafor_check", {"http-req"}, function(txn, url)
    url = url .. (txn:get_var("txn.datafor_options") or "")
    local credential = url:match("&header=([%w-]+)")
    local sent = txn.http:req_get_headers()
    local headers = {["x-original-method"] = {txn.sf:method()}, ["x-original-uri"] = {txn.sf:pathq()}}
    local function pass_on(name)
        if sent[name] then
            -- HAProxy counts the values of a header from 0.
            headers[name] = {table.concat(sent[name], name == "cookie" and "; " or ", ", 0)}
        end
    end
    for _, name in ipairs(PASSED_ON) do
        pass_on(name)
    end
    if credential then
        pass_on(credential:lower())
    end
    -- Its connections stay open, as those of a backend do.
    local response = core.httpclient():get {url = url, headers = headers, timeout = 15000}
    local status, received = response.status or 0, response.headers or {}
    if status ~= 200 then
        -- Every fault of the client is passed on, such as a 400 for a control character. All others are an outage.
        local reply = txn:reply {status = status >= 300 and status < 500 and status or 503, body = response.body}
        for _, name in ipairs(RETURNED) do
            if received[name] then
                reply:add_header(name, received[name][0])
            end
        end
        txn:done(reply)
    end

    -- These replace what the client sent, also with nothing.
    for _, name in ipairs(IDENTITY) do
        txn.http:req_set_header(name, received[name] and received[name][0] or "")
    end
    txn.http:req_del_header("cookie")
    if received["cookie"] and received["cookie"][0] ~= "" then
        txn.http:req_add_header("cookie", received["cookie"][0])
    end
    -- Without the credentials for the service. With ignore_authorization=1, the header is the application's.
    if not url:find("&ignore_authorization=1", 1, true) then
        txn.http:req_del_header("authorization")
    end
    if credential then
        txn.http:req_del_header(credential)
    end
    if received["content-security-policy"] then
        txn:set_var("txn.datafor_policy", received["content-security-policy"][0])
    end
    if received["set-cookie"] then
        txn:set_var("txn.datafor_session", received["set-cookie"][0])
    end
    txn:set_var("txn.datafor_passed", true)
end, 1)
