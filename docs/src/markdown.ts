/** A table; what is in its cells is Markdown, on one line each. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Text as code, whatever it holds. */
export function code(text: string): string {
  return text.includes('`') ? `\`\` ${text} \`\`` : `\`${text}\``;
}

/** What GitHub makes of a heading's text in its address. */
export function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(/\s/g, '-');
}

/** A page that a program writes. */
export function page(title: string, introduction: string, ...parts: readonly string[]): string {
  const note = '<!-- Written by `npm run docs` from the definitions in the code; change those. -->';
  return `${[`# ${title}`, note, introduction, ...parts].join('\n\n')}\n`;
}

// A bar would end the cell, and Prettier-like formatters are not asked.
const cell = (text: string) => text.replaceAll('\n', ' ').replaceAll('|', '\\|');
