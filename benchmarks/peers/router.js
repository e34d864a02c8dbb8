// The peer for routed calls: the same worker protocol on Node with `ws`, written the way one would write it without thinking
// of speed: JSON.parse, a Map, JSON.stringify.  node router.js PORT
const { WebSocketServer } = require("ws");
const { randomUUID } = require("crypto");

const functions = new Map();
const pending = new Map();
new WebSocketServer({ port: Number(process.argv[2]), host: "127.0.0.1", perMessageDeflate: false }).on("connection", (socket) => {
  const workerId = randomUUID();
  socket._socket.setNoDelay(true);
  socket.send(JSON.stringify({ type: "workerregistered", worker_id: workerId }));
  socket.on("message", (bytes) => {
    const message = JSON.parse(bytes);
    switch (message.type) {
      case "registerfunction":
        functions.set(message.id, socket);
        break;
      case "ping":
        socket.send('{"type":"pong"}');
        break;
      case "invokefunction": {
        const callee = functions.get(message.function_id);
        if (!callee) {
          const error = { code: "function_not_found", message: `Function ${message.function_id} not found` };
          socket.send(JSON.stringify({ type: "invocationresult", invocation_id: message.invocation_id, function_id: message.function_id, error }));
          break;
        }
        if (message.data && typeof message.data === "object" && !Array.isArray(message.data)) message.data._caller_worker_id = workerId;
        pending.set(message.invocation_id, socket);
        callee.send(JSON.stringify(message));
        break;
      }
      case "invocationresult": {
        const caller = pending.get(message.invocation_id);
        pending.delete(message.invocation_id);
        if (caller) caller.send(JSON.stringify(message));
        break;
      }
    }
  });
});
