import { isOfTutorials, writtenPages } from './support/documents.js';
import { testPages } from './support/test-pages.js';

// Beside the other file, since each takes a core.
testPages(writtenPages().filter((page) => !isOfTutorials(page)));
