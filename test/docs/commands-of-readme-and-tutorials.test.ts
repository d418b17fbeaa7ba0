import { isOfTutorials, writtenPages } from './support/documents.js';
import { testPages } from './support/test-pages.js';

testPages(writtenPages().filter(isOfTutorials));
