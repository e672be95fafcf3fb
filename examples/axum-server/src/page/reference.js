// Draws the reference of the interface from its OpenAPI document. What the document says is shown as text, never as markup.
'use strict';

const element = (name, attributes = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
};

const nameOf = (reference) => reference.split('/').pop();

// A short text for a schema: a name, a type, or the alternatives.
function typeOf(schema) {
  if (!schema) return '';
  if (schema.$ref) return nameOf(schema.$ref);
  const several = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (several) return several.map(typeOf).join(schema.allOf ? ' and ' : ' or ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (schema.type === 'array') return `list of ${typeOf(schema.items)}`;
  const type = [schema.type ?? 'anything'].flat().join(' or ');
  return schema.format ? `${type} (${schema.format})` : type;
}

function table(head, rows) {
  const cells = (name, texts) => texts.map((text) => element(name, {}, text ?? ''));
  return element('div', { class: 'wide' }, element('table', {},
    element('thead', {}, element('tr', {}, ...cells('th', head))),
    element('tbody', {}, ...rows.map((row) => element('tr', {}, ...cells('td', row))))));
}

function fields(schema) {
  const parts = [schema, ...(schema.allOf ?? [])].filter((part) => part.properties);
  return parts.flatMap((part) => Object.entries(part.properties).map(([name, property]) => [
    element('code', {}, name), typeOf(property), (part.required ?? []).includes(name) ? 'always' : '', property.description,
  ]));
}

function schemaView(name, schema) {
  const rows = fields(schema);
  return element('section', { id: `schema-${name}` }, element('h3', {}, element('code', {}, name)),
    element('p', {}, schema.description ?? ''),
    rows.length ? table(['field', 'type', 'required', 'meaning'], rows) : element('p', {}, typeOf(schema)));
}

function body(content) {
  return Object.entries(content ?? {}).map(([type, { schema }]) => {
    const name = schema?.$ref ? nameOf(schema.$ref) : undefined;
    return element('span', {}, `${type}: `, name ? element('a', { href: `#schema-${name}` }, name) : typeOf(schema), ' ');
  });
}

function operationView(path, method, operation) {
  const section = element('section', { id: operation.operationId },
    element('h3', {}, element('span', { class: `method ${method}` }, method.toUpperCase()), element('code', {}, path)),
    element('p', {}, element('strong', {}, operation.summary ?? '')),
    element('p', {}, operation.description ?? ''));
  const scopes = (operation.security ?? []).flatMap((requirement) => Object.values(requirement)).flat();
  if (scopes.length) section.append(element('p', {}, 'With authentication: the scope ', element('code', {}, scopes.join(', '))));
  if (operation.parameters?.length) {
    section.append(element('h4', {}, 'Parameters'), table(['name', 'in', 'type', 'meaning'], operation.parameters.map((parameter) => [
      element('code', {}, parameter.name), parameter.in, typeOf(parameter.schema), parameter.description,
    ])));
  }
  if (operation.requestBody) section.append(element('h4', {}, 'Body'), ...body(operation.requestBody.content));
  section.append(element('h4', {}, 'Answers'), table(['status', 'meaning', 'body'], Object.entries(operation.responses).map(
    ([status, answer]) => [element('code', {}, status), answer.description, element('span', {}, ...body(answer.content))])));
  return section;
}

async function draw() {
  const about = document.getElementById('about');
  let description;
  try {
    const answer = await fetch('/openapi.json');
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    description = await answer.json();
  } catch (error) {
    about.textContent = `The description could not be loaded: ${error.message}. Reload the page.`;
    return;
  }
  about.textContent = `${description.info.description} Version ${description.info.version}.`;
  const operations = Object.entries(description.paths).flatMap(([path, item]) => Object.entries(item)
    .filter(([, operation]) => operation.operationId).map(([method, operation]) => ({ path, method, operation })));
  const contents = document.getElementById('contents');
  const main = document.getElementById('operations');
  for (const tag of new Set(operations.map(({ operation }) => operation.tags[0]))) {
    const tagged = operations.filter(({ operation }) => operation.tags[0] === tag);
    contents.append(element('h2', {}, tag), element('ul', {}, ...tagged.map(({ operation }) =>
      element('li', {}, element('a', { href: `#${operation.operationId}` }, operation.summary)))));
    main.append(element('h2', {}, tag), ...tagged.map(({ path, method, operation }) => operationView(path, method, operation)));
  }
  main.append(element('h2', {}, 'Schemas'),
    ...Object.entries(description.components.schemas).map(([name, schema]) => schemaView(name, schema)));
  document.body.dataset.ready = 'true';
}

draw();
