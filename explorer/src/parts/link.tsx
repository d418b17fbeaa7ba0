import type { ComponentChildren } from 'preact';
import { goTo } from '../location.js';

export interface LinkProps {
  readonly href: string;
  readonly class?: string;
  readonly current?: boolean;
  readonly children: ComponentChildren;
}

/** A link inside the page; with a modifier key it opens as any other. */
export function Link({ href, current = false, children, ...others }: LinkProps) {
  return (
    <a
      {...others}
      href={href}
      aria-current={current ? 'page' : undefined}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button !== 0) return;
        event.preventDefault();
        goTo(href);
      }}
    >
      {children}
    </a>
  );
}
