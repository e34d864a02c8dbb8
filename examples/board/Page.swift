/// The page of the board.
enum Page {
    static func html(streamPort: String, token: String) -> String {
        """
        <!doctype html>
        <meta charset="utf-8">
        <title>Board</title>
        <style>body { font: 1rem/1.5 system-ui; max-width: 40rem; margin: 2rem auto } #state { color: gray }</style>
        <h1>Board <small id="state">connecting</small></h1>
        <form><input name="text" placeholder="A note, then Enter" autofocus> <button>Pin</button></form>
        <ul id="notes"></ul>
        <script>
        const notes = new Map(), list = document.querySelector("#notes"), state = document.querySelector("#state");
        let place;  // where we are in the order of events: after a lost connection we go on from there

        function connect() {
          // A browser can send a token as a sub-protocol only; iii-stream answers with "Authorization" and never with the token.
          const socket = new WebSocket(`ws://${location.hostname}:\(streamPort)/`, ["Authorization", "\(token)"]);
          socket.onopen = () => {
            const resume = place && {epoch: place.epoch, seq: place.seq};
            const join = {subscriptionId: "notes", streamName: "board", groupId: "notes", resume};
            socket.send(JSON.stringify({type: "join", data: join}));
          };
          socket.onmessage = ({data}) => apply(JSON.parse(data));
          socket.onclose = () => { state.textContent = "reconnecting"; setTimeout(connect, 300); };
        }

        function apply(frame) {
          const {type, data} = frame.event;
          if (type === "sync") { notes.clear(); for (const note of data) notes.set(note.id, note); }
          else if (type === "create" || type === "update") notes.set(data.id, data);
          else if (type === "delete") notes.delete(data.id);
          if (frame.seq !== undefined) place = frame;
          state.textContent = type === "unauthorized" ? "not allowed" : "live";
          list.replaceChildren(...[...notes.values()].map(show));
        }

        function show({id, text}) {
          const item = document.createElement("li"), remove = document.createElement("button");
          item.append(text + " ");
          remove.textContent = "×";
          remove.onclick = () => fetch(`/board/notes/${encodeURIComponent(id)}`, {method: "DELETE"});
          item.append(remove);
          return item;
        }

        document.querySelector("form").onsubmit = (event) => {
          event.preventDefault();
          const input = event.target.text;
          const headers = {"content-type": "application/json"};
          fetch("/board/notes", {method: "POST", headers, body: JSON.stringify({text: input.value})});
          input.value = "";
        };
        connect();
        </script>
        """
    }
}
