// datafor.embed(element, options): see docs/embedding.md.
(() => {
	const SOURCE = "datafor_token";
	const WAIT = 30e3; // ms, for a token or a hidden frame
	// The service has the same prefix on each host.
	const prefix = new URL(document.currentScript.src).pathname.replace("/embed.js", "");
	const sessions = new Map(); // by the origin of the frames
	const make = (name, values) => Object.assign(document.createElement(name), values);

	// The session of the gate at one origin, which its frames share.
	function sessionAt(origin) {
		const base = origin + prefix;
		const frames = new Set();
		let due, expires = 0; // ms since 1970
		let user, timer, running, entering, over;

		const isFrom = (frame, { source, origin: from, data }) =>
			source === frame.contentWindow && from === origin && data?.source === SOURCE;

		// Open something in a hidden frame; return what its page says. The first document adds nothing to the history.
		const ask = (open) =>
			new Promise((resolve) => {
				const frame = make("iframe", { hidden: true });
				const end = (said) => {
					removeEventListener("message", hear);
					frame.remove();
					resolve(said ?? {});
				};
				const hear = (event) => isFrom(frame, event) && end(event.data);
				addEventListener("message", hear);
				document.body.append(frame);
				open(frame);
				// A page of the browser itself says nothing.
				frame.onload = () => setTimeout(end, 2e3);
				setTimeout(end, WAIT);
			});
		const show = (path) => ask((frame) => (frame.src = base + path));
		// No markup: scripts there can say anything.
		const refuse = (one, { status, reference = "" }) =>
			one.onRefused?.({ status: status | 0, reference: `${/^\w*$/.exec(reference) ?? ""}` });

		// Each minute: no timer runs while the computer sleeps.
		const wait = () => {
			clearTimeout(timer);
			timer = setTimeout(check, Math.min(Math.max(due - Date.now(), 1e3), 60e3));
		};
		const check = () => {
			frames.forEach((one) => one.frame.isConnected || one.stop());
			if (due && !over) Date.now() < due ? wait() : renew();
		};

		// Get a token and open a session with it. One at a time.
		const renew = () => (running ??= signIn().finally(() => (running = null)));
		const signIn = async () => {
			const [{ token, tokenName = "token" }] = frames;
			let said = {};
			try {
				const value = await Promise.race([token(), new Promise((_, fail) => setTimeout(fail, WAIT))]);
				if (value && !over) {
					const query = new URLSearchParams({ [tokenName]: value, next: prefix + "/auth/frame" });
					said = await (entering = show("/auth/enter?" + query));
				}
			} catch {} // As without a response: retried.
			entering = null;
			if (over) return;
			// Signed out at once: the cookie was not stored.
			const { state, status = state ? 401 : 0 } = said;
			const left = expires - Date.now();
			if (state === "signed_in") {
				({ user } = said);
				expires = Date.now() + said.expires_in * 1e3;
				due = Date.now() + said.expires_in * 800;
				frames.forEach((one) => one.show());
			} else if (left < 1e3 || (status > 399 && status < 500 && status !== 429)) {
				expires = due = 0;
				return frames.forEach((one) => refuse(one, { ...said, status }));
			} else due = Date.now() + Math.min(left / 2, 60e3);
			wait();
		};

		const end = () => {
			clearTimeout(timer);
			over ||= sessions.delete(origin);
		};
		// Return whether the session has ended.
		const signOut = async () => {
			end();
			frames.forEach((one) => one.frame.remove());
			await entering;
			const said = await ask((frame) => {
				const { head, body } = frame.contentDocument;
				// Whatever the policy of this page is: the service must see its origin.
				head.append(make("meta", { name: "referrer", content: "strict-origin" }));
				const form = make("form", { method: "post", action: base + "/auth/leave" });
				body.append(form);
				form.submit();
			});
			// Also refused if there is no session.
			return (said.state === "signed_out" ? said : await show("/auth/frame")).state === "signed_out";
		};

		// A page of the gate says something in a visible frame.
		const hear = (one, { state, status, reference }) => {
			if (state === "signed_out") {
				// A renewal could sign in again.
				entering ? signOut() : end();
				frames.forEach((other) => other.onSignedOut?.());
			} else if (state === "refused") {
				// Refused with a new session too: no loop.
				if (status !== 401 || Date.now() - one.reloaded < WAIT) refuse(one, { status, reference });
				else {
					one.isOut = true;
					renew();
				}
			}
		};
		addEventListener("message", (event) =>
			frames.forEach((one) => !over && isFrom(one.frame, event) && hear(one, event.data)));
		document.addEventListener("visibilitychange", () => document.hidden || check());

		const add = (frame, options) => {
			const show = () => {
				// Another person's page is replaced; what somebody typed in their own stays.
				if (one.user !== user) frame.src = options.url;
				else if (one.isOut) {
					one.reloaded = Date.now();
					frame.contentWindow?.postMessage({ source: SOURCE, action: "reload" }, origin);
				}
				one.isOut = false;
				one.user = user;
			};
			const stop = () => frames.delete(one) && !frames.size && end();
			const one = { ...options, frame, show, stop };
			frames.add(one);
			Date.now() < due ? show() : renew();
			return { frame, stop, signOut };
		};
		return { add, signOut };
	}

	const sessionOf = (url) => {
		const { origin } = new URL(url, location);
		if (!sessions.has(origin)) sessions.set(origin, sessionAt(origin));
		return sessions.get(origin);
	};
	window.datafor = {
		embed: (element, options) =>
			sessionOf(options.url).add(element.contentWindow ? element : element.appendChild(make("iframe")), options),
		// Without URLs: every session of this page.
		async signOut(...urls) {
			const found = urls[0] ? urls.map(sessionOf) : [...sessions.values()];
			return (await Promise.all(found.map((one) => one.signOut()))).every(Boolean);
		},
	};
})();
