// The two fields of the page that are drawn and handled in the browser: the wheel of emotions and the timeline.
// Both are gr.HTML components: markup() gives the content for a value, listen() is run once when they are loaded.
(() => {
  const mooe = (window.mooe = { layout: LAYOUT, weights: [0, 0, 0, 0, 0, 0] });
  const SIZE = 360, CENTRE = SIZE / 2, RADIUS = 140;
  const corner = (k) => {
    const angle = (k * Math.PI) / 3 - Math.PI / 2;
    return [CENTRE + RADIUS * Math.cos(angle), CENTRE + RADIUS * Math.sin(angle)];
  };
  const clean = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  const limited = (weights) => {
    const sum = weights.reduce((a, b) => a + b, 0);
    return sum > 1 ? weights.map((w) => w / sum) : weights;
  };
  const place = (weights) =>
    mooe.layout.emotions.reduce(
      ([x, y], { slider }, k) => {
        const [cx, cy] = corner(k);
        return [x + weights[slider] * (cx - CENTRE), y + weights[slider] * (cy - CENTRE)];
      },
      [CENTRE, CENTRE],
    );
  const strongest = (weights) => {
    const best = Math.max(...weights);
    if (best < 0.02) return { name: "neutral", colour: "var(--body-text-color-subdued)" };
    const found = mooe.layout.emotions.filter((e) => weights[e.slider] > 0.4 * best);
    found.sort((a, b) => weights[b.slider] - weights[a.slider]);
    return { name: found.map((e) => e.name).join(" and "), colour: found[0].colour };
  };

  // Called when a film is cancelled, which ends at its next step.
  mooe.stopping = (line) =>
    line.includes("aria-busy='true'") ? line.replace(/(role='status'>)[^<]*/, "$1Stopping …") : line;

  mooe.wheel = {
    markup(value) {
      const weights = limited(value || mooe.weights);
      const spokes = mooe.layout.emotions.map(({ name, colour }, k) => {
        const [x, y] = corner(k);
        const ly = y < CENTRE ? y - 13 : y + 23;
        return `<line x1="${CENTRE}" y1="${CENTRE}" x2="${x}" y2="${y}"/><circle cx="${x}" cy="${y}" r="6"
          fill="${colour}"/><text class="basic" x="${x}" y="${ly}" text-anchor="middle">${clean(name)}</text>`;
      });
      const outline = mooe.layout.emotions.map((_, k) => corner(k).join(",")).join(" ");
      const compounds = mooe.layout.compounds.map(({ name, weights: shares }) => {
        const [x, y] = place(shares);
        const edge = Math.hypot(x - CENTRE, y - CENTRE) > 0.8 * RADIUS;
        const even = Math.max(...shares) < 0.6;
        const words = name.split(" ");
        // only the compounds of neighbours have room for their names; the others tell theirs when pointed at
        const label = edge && even
          ? `<text class="compound" text-anchor="middle" x="${CENTRE + (x - CENTRE) * 0.64}"
               y="${CENTRE + (y - CENTRE) * 0.64}">${words.map((w, i) =>
              `<tspan x="${CENTRE + (x - CENTRE) * 0.64}" dy="${i ? 13 : 0}">${clean(w)}</tspan>`).join("")}</text>`
          : "";
        return `<circle class="dot" cx="${x}" cy="${y}" r="3"><title>${clean(name)}</title></circle>${label}`;
      });
      const [x, y] = place(weights);
      const { name, colour } = strongest(weights);
      return `<svg class="mooe-wheel" viewBox="0 0 ${SIZE} ${SIZE}" role="img"
        aria-label="Wheel of emotions; the mix lies at ${clean(name)}. The sliders do the same by keyboard.">
        <polygon points="${outline}"/>${spokes.join("")}${compounds.join("")}
        <text class="compound" text-anchor="middle" x="${CENTRE}" y="${CENTRE + 24}">neutral</text>
        <line class="reach" x1="${CENTRE}" y1="${CENTRE}" x2="${x}" y2="${y}"/>
        <circle class="mix" cx="${x}" cy="${y}" r="9" fill="${colour}"/></svg>`;
    },
    weightsAt(svg, event) {
      const box = svg.getBoundingClientRect();
      const x = (((event.clientX - box.left) / box.width) * SIZE - CENTRE) / RADIUS;
      const y = (((event.clientY - box.top) / box.height) * SIZE - CENTRE) / RADIUS;
      const turn = (Math.atan2(y, x) / (Math.PI / 3) + 1.5 + 6) % 6;
      const first = Math.floor(turn), second = (first + 1) % 6;
      const [ax, ay] = corner(first).map((c) => (c - CENTRE) / RADIUS);
      const [bx, by] = corner(second).map((c) => (c - CENTRE) / RADIUS);
      const area = ax * by - ay * bx;
      const weights = [0, 0, 0, 0, 0, 0];
      weights[mooe.layout.emotions[first].slider] = Math.max(0, (x * by - y * bx) / area);
      weights[mooe.layout.emotions[second].slider] = Math.max(0, (ax * y - ay * x) / area);
      return limited(weights).map((w) => Math.round(w * 100) / 100);
    },
    listen(element, props, trigger) {
      let held = false;
      const set = (event) => {
        const svg = element.querySelector("svg");
        if (!svg) return;
        props.value = mooe.wheel.weightsAt(svg, event);
        trigger("input");
      };
      element.addEventListener("pointerdown", (event) => {
        held = true;
        event.preventDefault();
        set(event);
      });
      element.addEventListener("pointermove", (event) => held && set(event));
      window.addEventListener("pointerup", () => (held = false));
      window.addEventListener("pointercancel", () => (held = false));
    },
  };

  mooe.timeline = {
    markup(value) {
      const { duration = 0, peaks = [], keyframes = [], selected = -1, gates = "" } = value || {};
      if (!duration) return '<div class="mooe-timeline empty"><p>The waveform of the voice will stand here.</p></div>';
      const bars = peaks.map((peak, i) =>
        `<rect x="${i}" y="${50 - 48 * peak}" width="0.7" height="${Math.max(1, 96 * peak)}"/>`);
      const keys = keyframes.map(({ at, weights }, i) => {
        const { name, colour } = strongest(weights);
        const kinds = ["key", i === selected && "chosen", at > 0.8 * duration && "late"].filter(Boolean).join(" ");
        return `<button type="button" class="${kinds}" data-key="${i}" role="slider"
          style="left:${(100 * at) / duration}%;--colour:${colour}" aria-label="Keyframe ${i + 1}: ${clean(name)}"
          aria-valuemin="0" aria-valuemax="${duration}" aria-valuenow="${at}" aria-valuetext="${at.toFixed(1)} seconds">
          <span>${clean(name)}</span></button>`;
      });
      const ticks = [0, 0.25, 0.5, 0.75, 1].map((s) => `<span>${(s * duration).toFixed(1)} s</span>`);
      return `<div class="mooe-timeline" role="group" aria-label="Timeline of emotions along the voice">
        <div class="wave"><svg viewBox="0 0 ${peaks.length || 1} 100" preserveAspectRatio="none" aria-hidden="true">
        ${bars.join("")}</svg>${keys.join("")}</div>
        <div class="gates">${gates || "<p>The experts' gates will stand here.</p>"}</div>
        <div class="axis">${ticks.join("")}</div></div>`;
    },
    // Called with the six sliders: the chosen keyframe follows them.
    follow(value, weights) {
      if (!value || !(value.selected >= 0)) return value;
      const copy = structuredClone(value);
      copy.keyframes[copy.selected].weights = weights;
      return copy;
    },
    chosen(value) {
      const key = value && value.keyframes[value.selected];
      return key ? key.weights : mooe.weights;
    },
    cleared: (value) => ({ ...value, keyframes: [], selected: -1 }),
    listen(element, props, trigger) {
      let held = -1, moved = false, focused = -1;
      const change = (edit, event = "input") => {
        const value = structuredClone(props.value);
        edit(value);
        const chosen = value.keyframes[value.selected];
        value.keyframes.sort((a, b) => a.at - b.at);
        value.selected = chosen ? value.keyframes.indexOf(chosen) : -1;
        focused = value.selected;
        props.value = value;
        trigger(event);
      };
      // Each redraw replaces the buttons, whenever it comes: the focus goes back to its keyframe, unless the visitor
      // has put it elsewhere meanwhile.
      new MutationObserver(() => {
        if (focused >= 0 && document.activeElement === document.body)
          element.querySelector(`[data-key="${focused}"]`)?.focus();
      }).observe(element, { childList: true, subtree: true });
      element.addEventListener("focusin", (event) => {
        focused = Number(event.target.closest("[data-key]")?.dataset.key ?? -1);
      });
      document.addEventListener("focusin", (event) => {
        if (!element.contains(event.target)) focused = -1;
      });
      // a click beside everything that can have the focus takes it away
      document.addEventListener("pointerdown", (event) => {
        if (!element.contains(event.target)) focused = -1;
      });
      const time = (event) => {
        const box = element.querySelector(".wave").getBoundingClientRect();
        const at = ((event.clientX - box.left) / box.width) * props.value.duration;
        return Math.round(Math.min(Math.max(at, 0), props.value.duration) * 100) / 100;
      };
      // no two keyframes may stand at the same time
      const free = (value, at, but) => {
        while (value.keyframes.some((key, i) => i !== but && Math.abs(key.at - at) < 0.02)) at += 0.04;
        return Math.round(at * 100) / 100;
      };
      const move = (i, at) => change((v) => {
        v.keyframes[i].at = free(v, Math.min(Math.max(at, 0), v.duration), i);
        v.selected = i;
      });
      const remove = (i) => change((v) => {
        v.keyframes.splice(i, 1);
        v.selected = -1;
      });
      element.addEventListener("pointerdown", (event) => {
        const key = event.target.closest("[data-key]");
        if (!key || !element.contains(key)) return;
        held = Number(key.dataset.key);
        moved = false;
      });
      window.addEventListener("pointermove", (event) => {
        if (held < 0) return;
        moved = true;
        const key = element.querySelector(`[data-key="${held}"]`);
        if (key) key.style.left = `${(100 * time(event)) / props.value.duration}%`;
      });
      window.addEventListener("pointerup", (event) => {
        if (held < 0) return;
        const i = held;
        held = -1;
        // the click that follows a drag is none into the waveform
        if (moved) window.addEventListener("click", (click) => click.stopPropagation(), { capture: true, once: true });
        if (moved) return move(i, time(event));
        change((v) => (v.selected = v.selected === i ? -1 : i), "select");
      });
      element.addEventListener("click", (event) => {
        if (event.target.closest("[data-key]") || !event.target.closest(".wave")) return;
        change((v) => {
          v.keyframes.push({ at: free(v, time(event), -1), weights: [...mooe.weights] });
          v.selected = v.keyframes.length - 1;
        });
      });
      element.addEventListener("keydown", (event) => {
        const key = event.target.closest("[data-key]");
        if (!key) return;
        const i = Number(key.dataset.key), at = props.value.keyframes[i].at;
        const step = { ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1 }[event.key];
        if (step) move(i, at + step);
        else if (event.key === "Delete" || event.key === "Backspace") remove(i);
        else if (event.key === "Enter" || event.key === " ")
          change((v) => (v.selected = v.selected === i ? -1 : i), "select");
        else return;
        event.preventDefault();
      });
    },
  };
})();
