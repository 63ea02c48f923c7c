// Gradio's server ends its stream of answers when it owes none, and its page opens the next one with a request if it
// has heard of that end. What is asked in between, as with an upload shortly after a removal, would never be answered
// (Gradio 6.31). So where an answer is still owed at the end of a stream, the page reads on in the next one.
(() => {
  const fetched = window.fetch, encoder = new TextEncoder();
  const owed = new Set(), early = new Set(); // numbers of what is asked, and of what was answered before that was told
  const meaning = (message) => {
    try {
      return JSON.parse(message.replace(/^data:/, ""));
    } catch {
      return {};
    }
  };
  // Sends what a stream says on to a reader; gives how it ended: with answers "owed", "closed" or "broken" off.
  const pass = async (answer, reader) => {
    const from = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let end = "broken";
    for (let rest = ""; ; ) {
      const { done, value } = await from.read();
      if (done) return end;
      const messages = (rest + value).split("\n\n");
      rest = messages.pop();
      for (const message of messages) {
        const { msg, event_id } = meaning(message);
        if (msg === "process_completed" && !owed.delete(event_id)) early.add(event_id);
        if (msg === "close_stream" && owed.size) return "owed";
        if (msg === "close_stream") end = "closed";
        reader.enqueue(encoder.encode(`${message}\n\n`));
      }
    }
  };
  const answers = (request, first) =>
    new ReadableStream({
      async start(reader) {
        try {
          let end = await pass(first, reader);
          const before = end;
          while (end === "owed") end = await pass(await fetched(request.clone()), reader);
          // the page has not heard of the first stream's end, which it has to before it opens another
          if (before === "owed" && end === "broken") reader.enqueue(encoder.encode('data: {"msg": "close_stream"}\n\n'));
          reader.close();
        } catch (error) {
          reader.error(error);
        }
      },
    });
  window.fetch = async (...asked) => {
    const { pathname } = new URL(asked[0].url ?? asked[0], location.href);
    if (pathname.endsWith("/queue/data")) {
      const request = new Request(...asked);
      const answer = await fetched(request.clone());
      return answer.ok ? new Response(answers(request, answer), answer) : answer;
    }
    const answer = await fetched(...asked);
    if (pathname.endsWith("/queue/join") && answer.ok) {
      const { event_id } = await answer.clone().json();
      if (!early.delete(event_id)) owed.add(event_id);
    }
    return answer;
  };
})();
