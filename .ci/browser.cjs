// browser.cjs WORKDIR   looks at WORKDIR/mutant.html and clean.html as a person would. Screenshots are put beside them. See `browser`.
const { chromium } = require('playwright-core');
const assert = require('node:assert/strict');
const path = require('node:path');

const work = path.resolve(process.argv[2]);

async function open(browser, name, options) {
  const page = await browser.newPage({ viewport: { width: 1500, height: 1000 }, ...options });
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error') wrong.push(message.text()); });
  page.on('request', (request) => { if (!request.url().startsWith('file:')) wrong.push('asked for ' + request.url()); });
  await page.goto('file://' + path.join(work, name));
  await page.waitForSelector('body[data-ready="1"]', { timeout: 20_000 });
  return { page, wrong };
}

// What the page says of itself, once it has been drawn anew.
async function look(page) {
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const { from, until, marks, lines } = await page.evaluate(() => ({ ...document.body.dataset }));
  return { from: Number(from), until: Number(until), span: until - from, marks: Number(marks), lines: Number(lines) };
}

async function failing(browser) {
  const { page, wrong } = await open(browser, 'mutant.html');
  const found = await page.evaluate(() => run.found);
  const shows = (view) => view.from < found.at && view.until > found.at;
  let view = await look(page);
  assert.ok(shows(view), 'it opens at the violation');
  assert.ok(view.marks > 20, 'something is drawn');
  assert.ok((await page.textContent('#found')).includes(found.what), 'the violated rule is told');
  assert.match(await page.textContent('#replay'), /^cargo sim run --seed 1 .*--nodes 3 --mutant ack-before-hw$/);
  assert.match(await page.textContent('#commit'), /^at commit [0-9a-f]{12}|unknown/);
  assert.ok(await page.locator('#story li').count() > 5, 'what led to it is told');
  await page.screenshot({ path: path.join(work, 'violation.png'), fullPage: true });

  await page.keyboard.press('0');
  const whole = await look(page);
  assert.ok(whole.from <= 0 && whole.span > view.span, 'the whole run');
  await page.screenshot({ path: path.join(work, 'whole.png'), fullPage: true });

  const box = await page.locator('#canvas').boundingBox();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 40);
  for (let i = 0; i < 4; i++) await page.mouse.wheel(0, -300);
  view = await look(page);
  assert.ok(view.span < whole.span / 4, 'the wheel zooms');
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.4, box.y + 40, { steps: 4 });
  await page.mouse.up();
  const moved = await look(page);
  assert.ok(moved.from > view.from && Math.abs(moved.span - view.span) < 10, 'dragging moves');

  await page.keyboard.press('v');
  assert.ok(shows(await look(page)), 'back at the violation');
  await page.mouse.move(box.x + box.width * 0.5, box.y + 36);
  await page.waitForSelector('#tip:not([hidden])');
  assert.match(await page.textContent('#tip'), /node 1/);
  for (let i = 0; i < 6; i++) await page.keyboard.press('+');
  await page.keyboard.press('m');
  await page.uncheck('#narrow');
  view = await look(page);
  assert.ok(view.lines > 0, 'messages are drawn');
  await page.screenshot({ path: path.join(work, 'messages.png'), fullPage: true });
  const before = await page.evaluate(() => document.body.dataset.partition);
  await page.keyboard.press('p');
  await look(page);
  assert.notEqual(await page.evaluate(() => document.body.dataset.partition), before, 'another partition');
  await page.waitForFunction(() => location.hash.includes('m=1'), null, { timeout: 5_000 });
  assert.deepEqual(wrong, []);
  await page.close();

  const dark = await open(browser, 'mutant.html', { colorScheme: 'dark', viewport: { width: 800, height: 900 } });
  await look(dark.page);
  assert.ok(await dark.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'a narrow window shows all');
  await dark.page.screenshot({ path: path.join(work, 'dark.png'), fullPage: true });
  assert.deepEqual(dark.wrong, []);
}

async function clean(browser) {
  const { page, wrong } = await open(browser, 'clean.html');
  const view = await look(page);
  assert.ok(view.from <= 0 && view.marks > 20, 'the whole run is drawn');
  assert.match(await page.textContent('#found'), /clean/);
  await page.screenshot({ path: path.join(work, 'clean.png'), fullPage: true });
  assert.deepEqual(wrong, []);
}

(async () => {
  const browser = await chromium.launch({ executablePath: 'chromium', args: ['--no-sandbox'] }).catch(() =>
    chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] }));
  try {
    await failing(browser);
    await clean(browser);
    console.log('the reports render, zoom, and show the violation');
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error); process.exit(1); });
