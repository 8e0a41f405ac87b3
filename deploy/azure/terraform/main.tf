# What exists is taken, what does not is made: resource group, registry, Azure ML workspace.

data "azurerm_client_config" "me" {}

data "azurerm_subscription" "this" {}

locals {
  compact  = replace(var.name, "-", "")
  group    = var.existing.resource_group != null ? data.azurerm_resource_group.existing[0].name : azurerm_resource_group.made[0].name
  location = var.existing.resource_group != null ? data.azurerm_resource_group.existing[0].location : azurerm_resource_group.made[0].location
  registry = var.existing.registry != null ? {
    id     = data.azurerm_container_registry.existing[0].id
    server = data.azurerm_container_registry.existing[0].login_server
    } : {
    id     = azurerm_container_registry.made[0].id
    server = azurerm_container_registry.made[0].login_server
  }
  workspace_id = var.existing.ml_workspace != null ? data.azurerm_machine_learning_workspace.existing[0].id : azurerm_machine_learning_workspace.made[0].id
}

data "azurerm_resource_group" "existing" {
  count = var.existing.resource_group != null ? 1 : 0
  name  = var.existing.resource_group
}

resource "azurerm_resource_group" "made" {
  count    = var.existing.resource_group != null ? 0 : 1
  name     = var.name
  location = var.location
  tags     = var.tags
}

data "azurerm_container_registry" "existing" {
  count               = var.existing.registry != null ? 1 : 0
  name                = var.existing.registry
  resource_group_name = local.group
}

resource "azurerm_container_registry" "made" {
  count               = var.existing.registry != null ? 0 : 1
  name                = "${local.compact}registry"
  resource_group_name = local.group
  location            = local.location
  sku                 = "Basic"
  admin_enabled       = false
  tags                = var.tags
}

data "azurerm_machine_learning_workspace" "existing" {
  count               = var.existing.ml_workspace != null ? 1 : 0
  name                = var.existing.ml_workspace
  resource_group_name = local.group
}

resource "azurerm_log_analytics_workspace" "made" {
  count               = var.existing.ml_workspace != null ? 0 : 1
  name                = "${var.name}-logs"
  resource_group_name = local.group
  location            = local.location
  tags                = var.tags
}

resource "azurerm_application_insights" "made" {
  count               = var.existing.ml_workspace != null ? 0 : 1
  name                = "${var.name}-insights"
  resource_group_name = local.group
  location            = local.location
  workspace_id        = azurerm_log_analytics_workspace.made[0].id
  application_type    = "web"
  tags                = var.tags
}

resource "azurerm_storage_account" "made" {
  count                    = var.existing.ml_workspace != null ? 0 : 1
  name                     = "${local.compact}store"
  resource_group_name      = local.group
  location                 = local.location
  account_tier             = "Standard"
  account_replication_type = "LRS"
  tags                     = var.tags
}

resource "azurerm_machine_learning_workspace" "made" {
  count                   = var.existing.ml_workspace != null ? 0 : 1
  name                    = "${var.name}-ml"
  resource_group_name     = local.group
  location                = local.location
  application_insights_id = azurerm_application_insights.made[0].id
  key_vault_id            = azurerm_key_vault.this.id
  storage_account_id      = azurerm_storage_account.made[0].id
  tags                    = var.tags
  identity {
    type = "SystemAssigned"
  }
}
