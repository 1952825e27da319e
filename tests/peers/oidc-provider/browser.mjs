// A browser with a person in it: follows redirects, fills in the server's own forms (login, consent, device code), and
// ends where the server sends it away, or where no form is left.
// usage: node browser.mjs URL [USER_CODE]
const [start, userCode] = process.argv.slice(2);
const home = new URL(start).origin;
const cookies = new Map();

async function visit(url, options = {}) {
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const answer = await fetch(url, { ...options, redirect: 'manual', headers: { ...options.headers, cookie } });
  for (const line of answer.headers.getSetCookie()) {
    const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
    value ? cookies.set(name, value) : cookies.delete(name);
  }
  return answer;
}

let [url, options] = [start, {}];
for (let step = 0; step < 30; step++) {
  const answer = await visit(url, options);
  const location = answer.headers.get('location');
  if (location) {
    [url, options] = [new URL(location, url).href, {}];
    if (!url.startsWith(home)) {
      await fetch(url, { redirect: 'manual' }); // the program that waits for us
      console.log(url);
      process.exit(0);
    }
    continue;
  }
  const html = await answer.text();
  const form = html.match(/<form[\s\S]*?<\/form>/)?.[0];
  if (!form) {
    console.log(html.replace(/<style[\s\S]*?<\/style>/g, '').replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ').trim());
    process.exit(answer.ok ? 0 : 1);
  }
  const field = (tag, name) => tag.match(new RegExp(`${name}="([^"]*)"`))?.[1];
  const filled = { login: 'alice', password: 'x', user_code: userCode };
  const pairs = [...form.matchAll(/<input[^>]*>/g)]
    .map(([tag]) => [field(tag, 'name'), field(tag, 'value')])
    .filter(([name]) => name && name !== 'abort')
    .map(([name, value]) => [name, value || filled[name] || '']);
  url = new URL(field(form, 'action'), url).href;
  options = { method: 'POST', body: new URLSearchParams(pairs) };
}
console.log('too many steps');
process.exit(1);
