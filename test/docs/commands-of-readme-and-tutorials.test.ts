import { writtenPages } from './support/documents.js';
import { testPages } from './support/test-pages.js';

testPages(writtenPages().filter(({ path }) => path === 'README.md' || path.startsWith('docs/tutorial/')));
