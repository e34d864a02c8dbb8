// What a hand-made server for live updates does: every line on stdin goes to all sockets as one message.
const {WebSocketServer} = require("ws");
const server = new WebSocketServer({host: "127.0.0.1", port: Number(process.argv[2]), perMessageDeflate: false});
require("readline").createInterface({input: process.stdin}).on("line", (line) => {
  for (const socket of server.clients) socket.send(line);
});
server.on("listening", () => console.log("ready"));
