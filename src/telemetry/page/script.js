// Brings the page up to date without losing where its reader is: only what differs is replaced, what was open stays
// open, the place and the focus stay. Everything works without it, as a picture of one moment.
(() => {
  'use strict';
  const EVERY = 5000;
  const PATIENCE = 10000;
  const here = (id) => document.getElementById(id);
  const two = (number) => String(number).padStart(2, '0');
  const build = document.documentElement.dataset.build;
  // Each element as the server wrote it, before its times became the reader's.
  const written = new Map();

  // The agent's times are in the zone of its machine, a reader's in theirs.
  const offset = -new Date().getTimezoneOffset();
  const zone = `UTC${offset < 0 ? '-' : '+'}${two(Math.trunc(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  // When what is shown was true.
  let now = new Date(document.querySelector('.asof time').dateTime);
  const clock = (at, seconds) => {
    const time = `${two(at.getHours())}:${two(at.getMinutes())}${seconds ? `:${two(at.getSeconds())}` : ''}`;
    if (at.toDateString() === now.toDateString()) {
      return time;
    }
    const year = at.getFullYear() === now.getFullYear() ? '' : `${at.getFullYear()}-`;
    return `${year}${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
  };
  const localise = (element) => {
    for (const time of element.querySelectorAll('time')) {
      const at = new Date(time.dateTime);
      time.textContent = clock(at, time.dataset.s !== undefined);
      time.title = at.toString();
    }
    for (const name of element.querySelectorAll('.zone')) {
      name.textContent = zone;
    }
  };
  const take = (element) => {
    written.set(element.id, element.outerHTML);
    localise(element);
    return element;
  };

  const selection = getSelection();
  // Puts a fresh element in the place of the one that has its id; says which of them is there now.
  const replace = (old, fresh) => {
    const reading = !selection.isCollapsed && selection.containsNode(old, true);
    if (reading || written.get(fresh.id) === fresh.outerHTML) {
      return old;
    }
    take(fresh);
    const details = fresh.querySelectorAll('details');
    old.querySelectorAll('details').forEach((before, nth) => {
      if (details[nth]) {
        details[nth].open = before.open;
      }
    });
    const reached = [...old.querySelectorAll('summary, a')].indexOf(document.activeElement);
    old.replaceWith(fresh);
    fresh.querySelectorAll('summary, a')[reached]?.focus({ preventScroll: true });
    return fresh;
  };
  const replaceRows = (rows, fresh) => {
    const before = new Map([...rows.children].map((row) => [row.id, row]));
    const now = [...fresh.children].map((row) => {
      const old = before.get(row.id);
      before.delete(row.id);
      return old ? replace(old, row) : take(row);
    });
    for (const [id, gone] of before) {
      gone.remove();
      written.delete(id);
    }
    now.forEach((row, nth) => {
      if (rows.children[nth] !== row) {
        rows.insertBefore(row, rows.children[nth] ?? null);
      }
    });
  };

  const filter = here('filter');
  const [wanted, count] = [filter.querySelector('input'), filter.querySelector('small')];
  const sift = () => {
    const rows = [...here('rows').children];
    const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = words.length ? row.textContent.toLowerCase() : '';
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    filter.hidden = rows.length < 8 && !words.length;
    count.textContent = words.length
      ? count.dataset.text.replace('{shown}', shown).replace('{all}', rows.length) : '';
  };
  wanted.addEventListener('input', sift);

  const lose = () => {
    const lost = here('lost');
    const text = lost.dataset.text.replace('{}', clock(now, true));
    if (lost.hidden || lost.textContent !== text) {
      lost.textContent = text;
    }
    lost.hidden = false;
    document.body.classList.add('old');
  };
  const update = async () => {
    const answer = await fetch(location.href, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
    const text = await answer.text();
    const fresh = new DOMParser().parseFromString(text, 'text/html');
    if (!answer.ok || fresh.documentElement.dataset.build === undefined) {
      throw new Error('not the page');
    }
    if (fresh.documentElement.dataset.build !== build) {
      location.reload();
      return;
    }
    now = new Date(fresh.querySelector('.asof time').dateTime);
    if (document.title !== fresh.title) {
      here('say').textContent = fresh.querySelector('h1').textContent;
      document.title = fresh.title;
      here('icon').href = fresh.getElementById('icon').getAttribute('href');
    }
    for (const part of fresh.querySelectorAll('[data-live]')) {
      replace(here(part.id), part);
    }
    replaceRows(here('rows'), fresh.getElementById('rows'));
    here('rows').className = fresh.getElementById('rows').className;
    here('credentials').hidden = fresh.getElementById('credentials').hidden;
    sift();
    here('lost').hidden = true;
    document.body.classList.remove('old');
  };
  let timer;
  let busy = false;
  const turn = async () => {
    clearTimeout(timer);
    if (document.hidden || busy) {
      return;
    }
    busy = true;
    const began = performance.now();
    try {
      await update();
    } catch {
      lose();
    }
    busy = false;
    // A long list is not asked for more often than it is worth.
    timer = setTimeout(turn, Math.max(EVERY, 20 * Math.min(performance.now() - began, PATIENCE / 5)));
  };

  document.querySelectorAll('[data-live], #rows > li').forEach(take);
  sift();
  document.addEventListener('visibilitychange', turn);
  timer = setTimeout(turn, EVERY);
})();
