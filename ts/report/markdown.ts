// report.md: the same in Markdown, with the drawings as files beside it.
import { type Content, facts, MISSING, type Section } from './page.js';
import { toMarkdown } from './table.js';
import type { Figure } from './view.js';

/** @param file where a drawing lies, from the page */
export function renderMarkdown(content: Content, file: (figure: Figure) => string): string {
  const { results, headline, figures, tables, missing, machine } = content;
  const section = ({ title, text, table }: Section) => `## ${title}\n\n${text}\n\n${toMarkdown(table)}`;
  const parts = [
    `# ${results.name}`,
    facts(content)
      .map(([word, value]) => `${word}: ${value}`)
      .join('; '),
    section(headline),
    ...figures.map(
      (figure) =>
        `## ${figure.title}\n\n![${figure.text.replaceAll(/[[\]]/g, '')}](${file(figure)})\n\n${figure.caption}`,
    ),
    ...tables.map(section),
    ...(missing.length === 0
      ? []
      : [`## ${MISSING.title}\n\n${missing.map(({ title, add }) => `- **${title}**: ${add}`).join('\n')}`]),
    ...(machine === '' ? [] : [machine]),
  ];
  return `${parts.join('\n\n')}\n`;
}
