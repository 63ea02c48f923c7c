// Gradio's server ends its stream of answers when it owes none, and its page opens the next one with a request if it
// has heard of that end. What is asked in between, as with an upload shortly after a removal, would never be answered
// (Gradio 6.31). So where an answer is still owed at the end of a stream, the page reads on in the next one.
(() => {
  const fetched = window.fetch, owed = new Set(), encoder = new TextEncoder();
  const meaning = (message) => {
    try {
      return JSON.parse(message.replace(/^data:/, ""));
    } catch {
      return {};
    }
  };
  // Sends what a stream says on to a reader; gives whether another stream has to follow.
  const pass = async (answer, reader) => {
    const from = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ; ) {
      const { done, value } = await from.read();
      if (done) return false;
      const messages = (rest + value).split("\n\n");
      rest = messages.pop();
      for (const message of messages) {
        const { msg, event_id } = meaning(message);
        if (msg === "process_completed") owed.delete(event_id);
        if (msg === "close_stream" && owed.size) return true;
        reader.enqueue(encoder.encode(`${message}\n\n`));
      }
    }
  };
  const answers = (request, first) =>
    new ReadableStream({
      async start(reader) {
        try {
          let answer = first;
          while (await pass(answer, reader)) answer = await fetched(request.clone());
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
    if (pathname.endsWith("/queue/join") && answer.ok) owed.add((await answer.clone().json()).event_id);
    return answer;
  };
})();
