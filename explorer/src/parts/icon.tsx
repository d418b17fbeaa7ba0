/** Drawn on 24 x 24, in strokes of the text's colour. */
const PATHS = {
  map: 'M5 7.5h.01M9 13h.01M8 17.5h.01M13 6h.01M12.5 10.5h.01M17 9h.01M15.5 15h.01M19 14h.01M18 18.5h.01M4.5 12h.01',
  traversal: 'M4 7h8m4 0h4M4 12h2m4 0h10M4 17h10m4 0h2M14 5v4M8 10v4M16 15v4',
  samples: 'M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z',
  morph: 'M4 12a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0M14.5 8.5h6v7h-6zM7.5 4.5c4-2 8-2 10.5 0M16 5.5l2.200-.9-.5-2.300',
  anomaly: 'M3 18c5 0 5-11 8.5-11S15 18 21 18M18 12v-7M18 15.5v.01',
  models: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5l8-4.5M12 12v9',
  plus: 'M12 5v14M5 12h14',
  minus: 'M5 12h14',
  whole: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
  play: 'M8 5l11 7l-11 7z',
  pause: 'M8 5v14M16 5v14',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  download: 'M12 4v11M7 11l5 5l5-5M5 20h14',
} as const;
export type IconName = keyof typeof PATHS;

export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
