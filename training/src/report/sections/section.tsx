import type { ComponentChildren, VNode } from 'preact';

/** A part of the page, with a heading that the contents link to. */
export interface Section {
  readonly id: string;
  readonly title: string;
  readonly body: VNode;
}

/** What stands in place of a part that needs data which were not found. */
export function NeedsData(): VNode {
  return <p class="absent">Not shown: it needs the test part of the data set, which was not found.</p>;
}

/** A picture with its caption below. */
export function Figure({ caption, children }: { caption: ComponentChildren; children: ComponentChildren }): VNode {
  return (
    <figure>
      {children}
      <figcaption>{caption}</figcaption>
    </figure>
  );
}

/** Radio buttons that show one of several panels, by style alone: a child with data-panel N shows while N is chosen. */
export function Choice({ name, legend, options }: { name: string; legend: string; options: readonly string[] }): VNode {
  return (
    <fieldset class="choice">
      <legend>{legend}</legend>
      {options.map((option, i) => (
        <label key={option}>
          <input type="radio" name={name} value={i} checked={i === 0} /> {option}
        </label>
      ))}
    </fieldset>
  );
}
/** Panels that the style sheet knows how to switch between. */
export const MOST_PANELS = 12;
