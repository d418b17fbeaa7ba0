// What the page does beyond showing itself: the map answers to the pointer and to the arrow keys, its legend picks a class
// out, and the command can be copied. Without this script all pictures are there all the same.

(() => {
  document.documentElement.classList.add('with-script');

  const command = document.querySelector('.command');
  if (command && navigator.clipboard) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'copy';
    button.textContent = 'Copy';
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = 'Copied';
    });
    command.parentElement.append(button);
  }

  const map = document.getElementById('latent-map');
  if (!map) return;
  const { places, texts, sheet } = JSON.parse(document.getElementById('map-data').textContent);
  const plane = map.querySelector('.plane');
  const svg = plane.querySelector('svg');
  const chosenMark = plane.querySelector('.chosen');
  const card = plane.querySelector('.card');
  const thumbnail = card.querySelector('.thumbnail');
  const text = card.querySelector('output');
  const { width, height } = svg.viewBox.baseVal;
  /** Farther from the pointer than this, in units of the view box, no point is meant. */
  const REACH = 40;
  let chosen = -1;

  if (thumbnail) thumbnail.style.backgroundSize = `${100 * sheet.columns}% ${100 * sheet.rows}%`;

  function choose(point) {
    chosen = point;
    card.hidden = point < 0;
    if (point < 0) {
      chosenMark.setAttribute('cx', -99);
      return;
    }
    const [x, y] = [places[2 * point], places[2 * point + 1]];
    chosenMark.setAttribute('cx', x);
    chosenMark.setAttribute('cy', y);
    text.textContent = `Test example ${point} · ${texts[point]}`;
    if (thumbnail) {
      const share = (at, of) => (of > 1 ? (100 * at) / (of - 1) : 0);
      const [column, row] = [point % sheet.columns, Math.floor(point / sheet.columns)];
      thumbnail.style.backgroundPosition = `${share(column, sheet.columns)}% ${share(row, sheet.rows)}%`;
    }
    // On the side of the point where there is more room.
    const [left, top] = [(100 * x) / width, (100 * y) / height];
    card.style.left = left > 50 ? 'auto' : `calc(${left}% + 18px)`;
    card.style.right = left > 50 ? `calc(${100 - left}% + 18px)` : 'auto';
    card.style.top = top > 50 ? 'auto' : `${top}%`;
    card.style.bottom = top > 50 ? `${100 - top}%` : 'auto';
  }

  /** The point with the least distance by a measure, which is infinite for those that do not count. */
  function nearest(distance) {
    let best = -1;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < texts.length; i++) {
      const far = distance(places[2 * i], places[2 * i + 1], i);
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  function pointAt(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    choose(
      nearest((px, py) => {
        const far = Math.hypot(px - x, py - y);
        return far <= REACH ? far : Number.POSITIVE_INFINITY;
      }),
    );
  }
  plane.addEventListener('pointermove', pointAt);
  plane.addEventListener('pointerdown', pointAt);
  plane.addEventListener('pointerleave', () => choose(-1));

  const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  plane.tabIndex = 0;
  plane.setAttribute('role', 'application');
  plane.setAttribute('aria-label', `${svg.getAttribute('aria-label')}. The arrow keys walk from point to point.`);
  text.setAttribute('aria-live', 'polite');
  plane.addEventListener('blur', () => choose(-1));
  plane.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') choose(-1);
    const direction = DIRECTIONS[event.key];
    if (!direction) return;
    event.preventDefault();
    const [x, y] = chosen < 0 ? [width / 2, height / 2] : [places[2 * chosen], places[2 * chosen + 1]];
    const next = nearest((px, py, i) => {
      const ahead = (px - x) * direction[0] + (py - y) * direction[1];
      const aside = Math.abs((px - x) * direction[1]) + Math.abs((py - y) * direction[0]);
      // Forwards, and rather straight on than near.
      return i !== chosen && ahead > 0 ? ahead + 3 * aside : Number.POSITIVE_INFINITY;
    });
    if (next >= 0) choose(next);
  });

  for (const legend of map.querySelectorAll('.legend')) {
    const panel = svg.querySelector(`[data-panel="${legend.dataset.panel}"]`);
    for (const item of legend.children) {
      const button = document.createElement('button');
      button.type = 'button';
      button.setAttribute('aria-pressed', 'false');
      button.append(...item.childNodes);
      item.append(button);
      button.addEventListener('click', () => {
        const isPicked = button.getAttribute('aria-pressed') === 'true';
        for (const other of legend.querySelectorAll('button')) other.setAttribute('aria-pressed', 'false');
        button.setAttribute('aria-pressed', String(!isPicked));
        for (const dots of panel.querySelectorAll('.dots')) {
          dots.classList.toggle('faded', !isPicked && dots.dataset.level !== item.dataset.level);
        }
      });
    }
  }
})();
