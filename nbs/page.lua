-- What a chapter needs between notebook and page. Quarto runs this on every page.

-- Links to the course's own pages stay within this copy of the site, wherever it lies.
local settings = io.open(pandoc.path.join { quarto.project.directory, "nbdev.yml" })
local HOME = settings and settings:read("a"):match('site%-url: "([^"]+)"')
if settings then settings:close() end

local function at_home(link)
  if HOME and link.target:sub(1, #HOME + 1) == HOME .. "/" then
    link.target = quarto.project.offset .. link.target:sub(#HOME + 1)
    return link
  end
end

local heads = {}      -- ids of the page's headings and of the names already anchored

local function text_of(blocks) return pandoc.utils.type(blocks) == "Blocks" and blocks[1] and blocks[1].text or "" end

-- For any HTML that a cell shows Quarto loads scripts from another host, which would draw widgets: they go.
local FOREIGN = { "require.min.js", "jquery.min.js", "define%('jquery'", "embed%-amd", "widget%-state" }

local function is_foreign(blocks)
  for _, word in ipairs(FOREIGN) do
    if text_of(blocks):find(word) then return true end
  end
end

local function without_foreign(meta)
  for _, key in ipairs { "header-includes", "include-after" } do
    local kept = {}
    for _, blocks in ipairs(meta[key] or {}) do
      if not is_foreign(blocks) then table.insert(kept, blocks) end
    end
    if meta[key] then meta[key] = kept end
  end
  return meta
end

-- A picture without words of its own takes those of the caption beneath it.
local function described(cell)
  local caption
  cell:walk { RawBlock = function(raw) caption = caption or raw.text:match('<p class="caption"[^>]*>(.-)</p>') end }
  return caption and cell:walk { Image = function(image)
    if #image.caption == 0 and not image.attributes["fig-alt"] then
      image.attributes["fig-alt"] = caption
      return image
    end
  end }
end

local function output(div)
  if div.classes:includes("cell") then return described(div) end
end

-- Links to a function or a class lead to the cell that defines it, as nbdev names the place: page.html#class.method.
local function anchors(block)
  if not block.classes:includes("cell-code") then return end
  local marks, class = "", ""
  for line in (block.text .. "\n"):gmatch("(.-)\n") do
    local name = line:match("^class%s+([%w_]+)") or line:match("^def%s+([%w_]+)") or line:match("^async def%s+([%w_]+)")
    if name then class = line:match("^class") and name or "" end
    local method = class ~= "" and line:match("^    def%s+([%w_]+)")
    local id = name or (method and class .. "." .. method)
    id = id and id:lower()
    if id and not heads[id] then
      heads[id] = true
      marks = marks .. string.format('<span id="%s"></span>', id)
    end
  end
  if marks ~= "" then return { pandoc.RawBlock("html", marks), block } end
end

-- The words in brackets say what a picture shows to those who cannot see it; they are no caption.
local function no_echo(figure)
  local block = figure.content[1]
  local image = block and block.content and #block.content == 1 and block.content[1]
  if image and image.t == "Link" then                -- a badge; one that has gone leaves its words, which are in the caption
    local words, badge = pandoc.utils.blocks_to_inlines(figure.caption.long), image.content[1]
    if not badge then image.content = words
    elseif badge.t == "Image" then
      badge.attributes.alt = pandoc.utils.stringify(#words > 0 and words or badge.caption)
      badge.caption = {}
    end
    return pandoc.Para { image }
  end
  if not image or image.t ~= "Image" then return end
  image.attributes.alt = pandoc.utils.stringify(image.caption)
  image.caption = image.title ~= "" and { pandoc.Str(image.title) } or {}
  return pandoc.Div({ pandoc.Plain { image } }, { class = "picture" })
end

-- Nothing is fetched from another host while a page is read: a badge from elsewhere becomes its words.
local function no_visitor(image)
  if image.src:find("^https?:") then return image.caption end
end

-- TeX sets a thin space beside the name of a function, "2 log x" but "log(x)"; MathML does not.
local FUNCTIONS = { log = 1, ln = 1, exp = 1, max = 1, min = 1, sin = 1, cos = 1, tanh = 1 }
local SCRIPTS = { "^%s*[_^]%b{}", "^%s*[_^]\\%a+", "^%s*[_^]%w", "^'+" }
local CLOSE_BY = { "^%s*[%(%[,=+&]", "^%s*\\[bB]ig", "^%s*\\left", "^%s*\\[!;,{]", "^%s*$" }

local function spaced(tex)
  local done, rest = "", tex
  while true do
    local before, word, after = rest:match("^(.-)\\(%a+)(.*)$")
    if not word then return done .. rest end
    done = done .. before
    if FUNCTIONS[word] and done:find("[%w%)}]%s*$") then done = done .. "\\," end
    done, rest = done .. "\\" .. word, after
    if FUNCTIONS[word] then
      for _, script in ipairs(SCRIPTS) do
        local part = rest:match(script)
        if part then done, rest = done .. part, rest:sub(#part + 1) end
      end
      local close = false
      for _, sign in ipairs(CLOSE_BY) do close = close or rest:find(sign) end
      if not close then done = done .. "\\," end
    end
  end
end

-- A formula or a table that is wider than the page scrolls in a box of its own. Columns of numbers keep their lines.
local function boxed_formula(math)
  math.text = spaced(math.text)
  if math.mathtype == "DisplayMath" then return pandoc.Span({ math }, { class = "formula" }) end
  return math
end

local function boxed_table(block)
  local many = #block.colspecs > 5
  for i, spec in ipairs(block.colspecs) do
    if many then block.colspecs[i] = { spec[1], nil } end
  end
  for _, row in ipairs(block.head.rows) do
    for _, cell in ipairs(row.cells) do
      if #cell.contents == 0 then cell.contents = { pandoc.Plain { pandoc.Span({ pandoc.Str("row") }, { class = "visually-hidden" }) } } end
    end
  end
  return pandoc.Div({ block }, { class = many and "scroll many" or "scroll" })
end

return {
  { Meta = without_foreign, Header = function(header) heads[header.identifier] = true end },
  { Div = output, CodeBlock = anchors, Figure = no_echo, Math = boxed_formula, Image = no_visitor, Link = at_home, Table = boxed_table },
}
